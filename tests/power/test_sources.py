"""Finding the source that a machine has."""

import pytest

from tlee.errors import UsageError
from tlee.power import jtop, nvml, rapl
from tlee.power.source import Source
from tlee.power.sources import CHOICES, SOURCES, open_source

OPENERS = {"jtop": (jtop, "Jtop"), "nvml": (nvml, "Nvml"), "rapl": (rapl, "Rapl")}


@pytest.fixture
def machine(monkeypatch):
    """Decides what opening each source does: a source is returned, an error raised."""

    def decide(**outcomes):
        for name, (module, opener) in OPENERS.items():
            monkeypatch.setattr(module, opener, lambda name=name: give(outcomes.get(name, missing(name))))

    return decide


def give(outcome):
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def missing(name):
    return UsageError(name, "is not there", f"install {name}")


def test_the_first_that_works_is_taken(machine):
    found = Source()
    for name in SOURCES:
        machine(**{name: found})
        assert open_source() == (found, None)
    machine(nvml=found, rapl=Source())
    assert open_source("auto")[0] is found


def test_where_none_works_the_reason_names_each_and_what_to_do(machine, capfd):
    machine(nvml=OSError("broken\nlibrary"))
    source, reason = open_source("auto")
    assert source is None
    assert reason.startswith("jtop: is not there (install jtop); nvml: OSError(") and "\n" not in reason
    assert reason.endswith("; rapl: is not there (install rapl)")
    assert capfd.readouterr() == ("", "")


def test_one_that_is_named_must_work(machine):
    machine()
    with pytest.raises(UsageError, match="nvml: is not there; install nvml"):
        open_source("nvml")


def test_none_is_none(machine):
    machine(jtop=Source())
    assert open_source("none") == (None, "no power source was asked for")


def test_another_does_not_exist():
    with pytest.raises(UsageError, match="there is no 'battery'; choose from " + ", ".join(CHOICES)):
        open_source("battery")


def test_this_machine_is_asked_without_a_fault(capfd):
    source, reason = open_source()
    assert (source is None) == (reason is not None)
    if source is not None:
        source.close()
    assert capfd.readouterr() == ("", "")
