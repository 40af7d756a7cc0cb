"""RAPL on a tree of files in the shape of /sys/class/powercap."""

import pytest

from tlee.errors import UsageError
from tlee.power import rapl
from tlee.power.source import SourceEnded

# Kernel: Documentation/power/powercap/powercap.rst shows this tree; its sizes are those of one processor.
DOMAINS = {
    "intel-rapl:0": ("package-0", 262143328850),
    "intel-rapl:0:0": ("core", 262143328850),
    "intel-rapl:0:1": ("dram", 65712999613),
    "intel-rapl:1": ("package-1", 262143328850),
    "intel-rapl:2": ("psys", 262143328850),
    "intel-rapl-mmio:0": ("package-0", 262143328850),
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Counters that a test sets, in microjoules, and a clock that goes on by a second with each reading."""
    for folder, (name, size) in DOMAINS.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(name + "\n")
        (tmp_path / folder / "max_energy_range_uj").write_text(f"{size}\n")
        (tmp_path / folder / "energy_uj").write_text("1000000\n")
    clock = iter(range(100, 200))
    monkeypatch.setattr(rapl.time, "perf_counter", lambda: next(clock))
    return tmp_path


def count(tree, **joules):
    names = {"package0": "intel-rapl:0", "dram": "intel-rapl:0:1", "package1": "intel-rapl:1", "core": "intel-rapl:0:0"}
    for name, used in joules.items():
        (tree / names[name] / "energy_uj").write_text(f"{int(used * 1e6)}\n")


def test_watts_are_differences_of_packages_and_memory(tree):
    source = rapl.Rapl(str(tree))
    assert source.total.startswith("dram-0 + package-0 + package-1: processor alone")
    count(tree, package0=31, dram=4, package1=11, core=20)
    reading = source.read()
    assert reading.rails == {"package-0": 30.0, "dram-0": 3.0, "package-1": 10.0}
    assert (reading.watts, reading.time) == (43.0, 100.5)  # between readings at 100 and 101 s
    assert source.read().watts == 0.0


def test_counters_begin_again_at_zero(tree):
    count(tree, package0=262143.0, dram=65712.0)
    source = rapl.Rapl(str(tree))
    count(tree, package0=10.0, dram=1.0)
    reading = source.read()
    assert reading.rails["package-0"] == pytest.approx(10.328850)
    assert reading.rails["dram-0"] == pytest.approx(1.999613)


def test_a_processor_without_memory_counters_has_a_package(tree):
    for folder in ("intel-rapl:0:1", "intel-rapl:1"):
        for path in (tree / folder).iterdir():
            path.unlink()
        (tree / folder).rmdir()
    assert rapl.Rapl(str(tree)).total.startswith("package-0: ")


def test_a_machine_without_counters_is_none(tmp_path):
    with pytest.raises(UsageError, match="rapl: this processor shows no counters of energy in "):
        rapl.Rapl(str(tmp_path))


def test_counters_for_root_alone_say_how_to_allow_them(tree, monkeypatch):
    forbid(monkeypatch)
    with pytest.raises(UsageError) as raised:
        rapl.Rapl(str(tree))
    assert "energy_uj can be read by root alone; sudo chmod a+r " in str(raised.value)
    assert "intel-rapl:*/energy_uj" in raised.value.remedy


def test_counters_that_disappear_end_the_source(tree, monkeypatch):
    source = rapl.Rapl(str(tree))
    (tree / "intel-rapl:1" / "energy_uj").unlink()
    with pytest.raises(SourceEnded, match="cannot be read"):
        source.read()
    forbid(monkeypatch)
    with pytest.raises(SourceEnded, match="root alone"):
        source.read()


def forbid(monkeypatch):
    """As for a user who is not root: tests may run as root, whom no file's mode keeps out."""
    real = rapl._text

    def text(path):
        if path.endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(rapl, "_text", text)
