import json
import os
import shutil
import subprocess
import sys

import pytest

from tlee.engines.store import (
    ALTERED,
    FAILED,
    FOREIGN,
    MISSING,
    READY,
    RECORD,
    TIMING,
    UNCHECKED,
    EngineStore,
    devices,
    stores,
)
from tlee.errors import EngineError, UsageError

IDENTITY = {"graph": "split0", "precision": "fp16"}
ENGINE = "split0.engine"
PASSED = {"differences": {"x0": 0.001}, "tolerance": 0.01, "passed": True}


@pytest.fixture
def folder(tmp_path):
    """Of a device, among the engines of all."""
    return tmp_path / "engines" / "orin"


def filled(folder, content: bytes = b"an engine", timing: bytes = b"times") -> EngineStore:
    store = EngineStore(str(folder))
    with store.building() as temporary:
        for name, data in (("engine", content), (TIMING, timing)):
            with open(os.path.join(temporary, name), "wb") as stream:
                stream.write(data)
        entry = {"identity": IDENTITY, "bundle": "digits", "seconds": 1.0, "workspace": 1}
        store.put("split0.engine", temporary, entry, {"gpu": "Orin"})
    return store


def test_an_engine_is_read_again_once_its_check_has_passed(folder):
    store = filled(folder)
    assert store.state(ENGINE) == UNCHECKED
    store.record_check(ENGINE, PASSED, [])
    again = EngineStore(str(folder))
    assert again.state(ENGINE) == READY and again.read(ENGINE) == b"an engine"
    assert again.machine == {"gpu": "Orin"} and again.timing().read() == b"times"
    assert [s.folder for s in stores(str(folder.parent))] == [store.folder]


def test_an_engine_that_failed_its_check_or_had_none_is_not_read(folder):
    store = filled(folder)
    with pytest.raises(EngineError, match="split0.engine: not checked; build it again with tlee-build"):
        store.read(ENGINE)
    store.record_check(ENGINE, dict(PASSED, passed=False), [])
    with pytest.raises(EngineError, match=f"split0.engine: {FAILED}; build it again"):
        store.read(ENGINE)


def test_an_altered_or_missing_engine_is_not_read(folder):
    store = filled(folder)
    store.record_check(ENGINE, PASSED, [])
    (folder / ENGINE).write_bytes(b"another code")
    assert store.state(ENGINE) == ALTERED
    with pytest.raises(EngineError, match="split0.engine: altered"):
        store.read(ENGINE)
    (folder / ENGINE).unlink()
    assert store.state(ENGINE) == MISSING


def test_a_file_that_nobody_recorded_is_not_read(folder):
    store = filled(folder)
    (folder / "exit0.engine").write_bytes(b"whose code?")
    assert store.unrecorded() == ["exit0.engine"]
    with pytest.raises(EngineError, match="exit0.engine: missing"):
        store.read("exit0.engine")


def test_a_truncated_timing_cache_is_named_and_not_used(folder):
    store = filled(folder)
    (folder / TIMING).write_bytes(b"tim")
    with pytest.raises(EngineError, match="timing.cache: altered or truncated; not used"):
        store.timing()


HOLD = """
import sys
from tlee.engines.store import EngineStore
with EngineStore(sys.argv[1]).building():
    print("building", flush=True)
    sys.stdin.read()
"""


def test_two_builds_do_not_work_in_one_folder(folder):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], **pipes) as first:
        assert first.stdout.readline() == b"building\n"
        with pytest.raises(UsageError, match="orin: another tlee-build is at work here; wait until it is done"):
            with EngineStore(str(folder)).building():
                pass
        first.kill()  # by which its lock is free
    with EngineStore(str(folder)).building():
        pass
    assert os.listdir(folder) == [] and os.listdir(folder.parent) == ["orin"]


def test_what_another_build_finished_in_between_is_not_lost(folder):
    early = EngineStore(str(folder))
    filled(folder)
    with early.building():
        early.record_check(ENGINE, PASSED, [])
    assert EngineStore(str(folder)).state(ENGINE) == READY


def test_what_a_killed_build_left_is_removed_by_the_next(folder):
    (folder / ".building-abc").mkdir(parents=True)
    (folder / ".building-abc" / "engine").write_bytes(b"half an engine")
    with EngineStore(str(folder)).building() as temporary:
        assert os.listdir(temporary) == []
    assert not list(folder.glob(".building-*"))


def test_a_removed_engine_is_gone_from_folder_and_record(folder):
    store = filled(folder)
    store.activate("digits", [ENGINE])
    assert EngineStore(str(folder)).active == {"digits": [ENGINE]}
    store.remove(ENGINE)
    again = EngineStore(str(folder))
    assert not (folder / ENGINE).exists() and not again.entries and not again.active


def test_a_folder_that_cannot_be_written_is_one_line_with_the_way_out(tmp_path):
    (tmp_path / "file").touch()  # in which not even root makes a folder
    with pytest.raises(UsageError, match="/file/engines: cannot be written .*--engine-dir"):
        with EngineStore(str(tmp_path / "file" / "engines")).building():
            pass


def test_the_record_is_json_that_tools_can_read(folder):
    filled(folder)
    record = json.loads((folder / RECORD).read_text())
    assert record["format"] == 2 and record["engines"][ENGINE]["bytes"] == len(b"an engine")


def ready(folder) -> EngineStore:
    """With one engine that may be used, and is."""
    store = filled(folder)
    store.record_check(ENGINE, PASSED, [])
    store.activate("digits", [ENGINE])
    return EngineStore(str(folder))


def check_foreign(folder, why=FOREIGN):
    """Nothing of it is believed; it is listed as there, and a build puts a record of its own in its place."""
    store = EngineStore(str(folder))
    assert store.distrust == why and not store.entries and not store.active and store.timing() is None
    with pytest.raises(EngineError, match="split0.engine: missing"):
        store.read(ENGINE)
    assert folder.name in devices(str(folder.parent)) and RECORD in store.unrecorded()
    assert ready(folder).read(ENGINE) == b"an engine"


def resigned(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "attacker.key"))
    shutil.rmtree(folder)
    ready(folder)
    monkeypatch.undo()


def unsigned(folder, monkeypatch, tmp_path):
    record = json.loads((folder / RECORD).read_text())
    del record["signature"]
    (folder / RECORD).write_text(json.dumps(record))


def without_a_key(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "none.key"))


def of_another_device(folder, monkeypatch, tmp_path):
    ready(folder.parent / "nano")
    shutil.copyfile(folder.parent / "nano" / RECORD, folder / RECORD)


def of_the_first_format(folder, monkeypatch, tmp_path):
    (folder / RECORD).write_text('{"format": 1, "engines": {}, "machine": {}, "active": {}, "timing": null}')


def a_folder(folder, monkeypatch, tmp_path):
    (folder / RECORD).unlink()
    (folder / RECORD).mkdir()


def a_pipe(folder, monkeypatch, tmp_path):
    (folder / RECORD).unlink()
    os.mkfifo(folder / RECORD)


def a_link(folder, monkeypatch, tmp_path):
    (folder / RECORD).rename(tmp_path / "elsewhere")
    (folder / RECORD).symlink_to(tmp_path / "elsewhere")


def huge(folder, monkeypatch, tmp_path):
    os.truncate(folder / RECORD, 10 << 30)


ATTACKS = [resigned, unsigned, without_a_key, of_another_device, of_the_first_format, a_folder, a_pipe, a_link, huge]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.__name__ for attack in ATTACKS])
def test_a_record_that_this_user_did_not_sign_here_is_not_believed(folder, tmp_path, monkeypatch, attack):
    ready(folder)
    attack(folder, monkeypatch, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    before = elsewhere.read_bytes() if elsewhere.exists() else b""
    check_foreign(folder)
    assert before == (elsewhere.read_bytes() if elsewhere.exists() else b"")  # nothing is written through a link


def test_a_record_of_another_format_gives_way(folder, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("tlee.engines.store.FORMAT", 3)
        ready(folder)
    check_foreign(folder, "recorded in format 3, this release reads 2")


def test_a_record_that_this_user_may_not_read_is_one_line_and_stays(folder, monkeypatch):
    ready(folder)
    refused = PermissionError(13, "Permission denied")
    monkeypatch.setattr("tlee.reading.os.open", lambda *_, **__: (_ for _ in ()).throw(refused))
    monkeypatch.setattr("tlee.engines.store.find_key", lambda: b"k" * 32)
    with pytest.raises(EngineError, match=f"{RECORD}: Permission denied; see that this user may read it"):
        EngineStore(str(folder))


def engine_as_a_link(file):
    file.rename(file.parent / "other")
    file.symlink_to("other")


def engine_as_a_pipe(file):
    file.unlink()
    os.mkfifo(file)


def engine_as_a_folder(file):
    file.unlink()
    file.mkdir()


def engine_that_grew(file):
    with open(file, "ab") as stream:
        stream.truncate(40 << 30)


ODD = [engine_as_a_link, engine_as_a_pipe, engine_as_a_folder, engine_that_grew]


@pytest.mark.parametrize("name", [ENGINE, TIMING])
@pytest.mark.parametrize("change", ODD, ids=[change.__name__ for change in ODD])
def test_what_is_no_plain_file_of_the_recorded_size_is_not_read(folder, name, change):
    store = ready(folder)
    change(folder / name)
    if name == ENGINE:
        assert store.state(ENGINE) == ALTERED
        with pytest.raises(EngineError, match=name):
            store.read(ENGINE)
    else:
        with pytest.raises(EngineError, match=f"{TIMING}: altered or truncated; not used"):
            store.timing()
    assert ready(folder).read(ENGINE) == b"an engine"  # built again in its place


def test_an_engine_is_read_once_and_what_was_read_is_what_was_hashed(folder, monkeypatch):
    store, opened, real = ready(folder), [], os.open
    monkeypatch.setattr(os, "open", lambda path, *rest, **more: opened.append(path) or real(path, *rest, **more))
    assert store.read(ENGINE) == b"an engine"
    assert opened == [str(folder / ENGINE)]


def test_too_few_descriptors_do_not_make_engines_altered(folder, monkeypatch):
    store, full = ready(folder), OSError(24, "Too many open files")
    monkeypatch.setattr("tlee.engines.store.os.open", lambda *_, **__: (_ for _ in ()).throw(full))
    with pytest.raises(OSError, match="Too many open files"):
        store.state(ENGINE)


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path, folder):
    (tmp_path / "elsewhere").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="orin: a link: engines would be written elsewhere; remove it"):
        with EngineStore(str(folder)).building():
            pass
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("../../elsewhere", path)], ids=["pipe", "link"])
def test_a_lock_that_is_no_file_is_not_written_through(tmp_path, folder, make):
    folder.parent.mkdir()
    make(folder.parent / ".orin.lock")
    try:
        with EngineStore(str(folder)).building():
            pass
    except UsageError as error:
        assert "cannot be written" in str(error)
    assert not (tmp_path / "elsewhere").exists()


def test_links_that_look_like_leftovers_go_and_what_they_point_to_stays(tmp_path, folder):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    folder.mkdir(parents=True)
    (folder / ".building-x").symlink_to(tmp_path / "elsewhere")
    with EngineStore(str(folder)).building():
        pass
    assert os.listdir(folder) == [] and (tmp_path / "elsewhere" / "file").exists()
