import json
import os

import pytest

from tlee.engines.store import ALTERED, FAILED, MISSING, READY, RECORD, TIMING, UNCHECKED, EngineStore, stores
from tlee.errors import EngineError, UsageError

IDENTITY = {"graph": "split0", "precision": "fp16"}
PASSED = {"differences": {"x0": 0.001}, "tolerance": 0.01, "passed": True}


def filled(folder, content: bytes = b"an engine", timing: bytes = b"times") -> EngineStore:
    store = EngineStore(str(folder))
    with store.building() as temporary:
        for name, data in (("engine", content), ("timing", timing)):
            with open(os.path.join(temporary, name), "wb") as stream:
                stream.write(data)
        paths = [os.path.join(temporary, name) for name in ("engine", "timing")]
        entry = {"identity": IDENTITY, "bundle": "digits", "seconds": 1.0, "workspace": 1}
        store.put("split0.engine", *paths, entry, {"gpu": "Orin"})
    return store


def test_an_engine_is_read_again_once_its_check_has_passed(tmp_path):
    store = filled(tmp_path / "orin")
    assert store.state("split0.engine") == UNCHECKED
    store.record_check("split0.engine", PASSED, [])
    again = EngineStore(str(tmp_path / "orin"))
    assert again.state("split0.engine") == READY and again.read("split0.engine") == b"an engine"
    assert again.machine == {"gpu": "Orin"} and again.timing() == str(tmp_path / "orin" / TIMING)
    assert [s.folder for s in stores(str(tmp_path))] == [store.folder]


def test_an_engine_that_failed_its_check_or_had_none_is_not_read(tmp_path):
    store = filled(tmp_path)
    with pytest.raises(EngineError, match="split0.engine: not checked; build it again with tlee-build"):
        store.read("split0.engine")
    store.record_check("split0.engine", dict(PASSED, passed=False), [])
    with pytest.raises(EngineError, match=f"split0.engine: {FAILED}; build it again"):
        store.read("split0.engine")


def test_an_altered_or_missing_engine_is_not_read(tmp_path):
    store = filled(tmp_path)
    store.record_check("split0.engine", PASSED, [])
    (tmp_path / "split0.engine").write_bytes(b"another code")
    assert store.state("split0.engine") == ALTERED
    with pytest.raises(EngineError, match="split0.engine: altered"):
        store.read("split0.engine")
    (tmp_path / "split0.engine").unlink()
    assert store.state("split0.engine") == MISSING


def test_a_file_that_nobody_recorded_is_not_read(tmp_path):
    store = filled(tmp_path)
    (tmp_path / "exit0.engine").write_bytes(b"whose code?")
    assert store.strays() == ["exit0.engine"]
    with pytest.raises(EngineError, match="exit0.engine: missing"):
        store.read("exit0.engine")


def test_a_truncated_timing_cache_is_named_and_not_used(tmp_path):
    store = filled(tmp_path)
    (tmp_path / TIMING).write_bytes(b"tim")
    with pytest.raises(EngineError, match="timing.cache: altered or truncated; not used"):
        store.timing()


def test_two_builds_do_not_work_in_one_folder(tmp_path):
    with EngineStore(str(tmp_path)).building():
        with (
            pytest.raises(UsageError, match="another tlee-build is at work here"),
            EngineStore(str(tmp_path)).building(),
        ):
            pass
    with EngineStore(str(tmp_path)).building():
        pass  # the first is done


def test_what_another_build_finished_in_between_is_not_lost(tmp_path):
    early = EngineStore(str(tmp_path))
    filled(tmp_path)
    with early.building():
        early.record_check("split0.engine", PASSED, [])
    assert EngineStore(str(tmp_path)).state("split0.engine") == READY


def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path):
    (tmp_path / ".building-abc").mkdir()
    (tmp_path / ".building-abc" / "engine").write_bytes(b"half an engine")
    with EngineStore(str(tmp_path)).building() as folder:
        assert os.listdir(folder) == []
    assert not list(tmp_path.glob(".building-*"))


def test_a_removed_engine_is_gone_from_folder_and_record(tmp_path):
    store = filled(tmp_path)
    store.activate("digits", ["split0.engine"])
    assert EngineStore(str(tmp_path)).active == {"digits": ["split0.engine"]}
    store.remove("split0.engine")
    again = EngineStore(str(tmp_path))
    assert not (tmp_path / "split0.engine").exists() and not again.entries and not again.active


@pytest.mark.parametrize(
    "content, problem",
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 9}', "format 9, this release reads 1"),
        ('{"format": 1, "engines": {"../../evil": {}}, "machine": {}, "active": {}, "timing": null}', "damaged"),
        ('{"format": 1, "engines": {"a": {"sha256": "1"}}, "machine": {}, "active": {}, "timing": null}', "damaged"),
        ('{"format": 1, "engines": {}, "machine": {}, "active": {"digits": ["a"]}, "timing": null}', "damaged"),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, content, problem):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(EngineError, match=f"engines.json: {problem}.*; remove the file and build again"):
        EngineStore(str(tmp_path))


def test_a_folder_that_cannot_be_written_is_one_line_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()  # in which not even root makes a folder
    with pytest.raises(UsageError, match="/file/engines: cannot be written .*--engine-dir"):
        with EngineStore(str(tmp_path / "file" / "engines")).building():
            pass


def test_the_record_is_json_that_tools_can_read(tmp_path):
    filled(tmp_path)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["format"] == 1 and record["engines"]["split0.engine"]["bytes"] == len(b"an engine")
