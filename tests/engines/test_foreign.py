"""Engines that came with a bundle, or were tampered with: named, never loaded, built anew, removed on request."""

import json
import os
import re
import shutil

import pytest
from boards import NANO_KEY, table, tlee_build

from tlee.engines.store import RECORD, EngineStore
from tlee.errors import EngineError, TleeError
from tlee.runtime import Recognizer

THEIRS = "of another machine or user, or damaged"


@pytest.fixture
def received(nano, tmp_path, monkeypatch):
    """A bundle that somebody built engines in, as another user gets it: without a key, or with one of their own."""
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "own" / "engine.key"))
    return nano


def no_engine_is_loaded(monkeypatch):
    def loaded(*_: object):
        raise AssertionError("a foreign engine was loaded")

    monkeypatch.setattr("tlee.engines.releases.TensorRT.deserialize", loaded)


@pytest.mark.parametrize("another", [False, True], ids=["no key", "another key"])
def test_they_are_named_and_built_again(received, tmp_path, another):
    if another:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "engine.key").write_bytes(os.urandom(32))
        (tmp_path / "own" / "engine.key").chmod(0o600)
    listed = tlee_build(received, "--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.count(f" {THEIRS}\n") == 4 and "ready" not in listed.stdout
    result = tlee_build(received)
    assert result.returncode == 0
    assert result.stderr == f"tlee-build: {received}/engines/{NANO_KEY}: engines {THEIRS}; built again\n"
    assert {cells[-1] for cells in table(result).values()} == {"ready"}
    assert "before" not in {cells[1] for cells in table(result).values()}
    again = tlee_build(received)
    assert (again.returncode, again.stderr) == (0, "")
    assert {cells[1] for cells in table(again).values()} == {"before"}


def test_they_are_removed_on_request(received, tmp_path):
    cleaned = tlee_build(received, "--clean")
    assert (cleaned.returncode, cleaned.stderr) == (0, "") and cleaned.stdout.count(f": {THEIRS}\n") == 6
    assert list((received / "engines" / NANO_KEY).iterdir()) == []
    assert not (tmp_path / "own").exists()  # nothing was signed


def test_a_bundle_runs_as_without_engines_and_says_why(received, load, monkeypatch):
    load("8.2", "nano")
    no_engine_is_loaded(monkeypatch)
    with pytest.raises(EngineError, match=f"{NANO_KEY}: engines {THEIRS}; build them here with tlee-build"):
        Recognizer.load(str(received), backend="tensorrt")
    with Recognizer.load(str(received), threads=1) as recognizer:
        assert "CPU" in recognizer.backend
        (note,) = recognizer.notes
        assert re.fullmatch(
            rf"not on TensorRT: .*{NANO_KEY}: engines {THEIRS}; build them here with tlee-build .*", note
        )


def test_with_the_key_of_those_who_built_them_they_run(nano, load):
    load("8.2", "nano")
    with Recognizer.load(str(nano)) as recognizer:
        assert "TensorRT" in recognizer.backend and recognizer.notes == []


def test_a_key_that_cannot_be_used_leaves_the_cpu(received, load, tmp_path):
    load("8.2", "nano")
    (tmp_path / "own").mkdir()
    os.mkfifo(tmp_path / "own" / "engine.key")
    with Recognizer.load(str(received), threads=1) as recognizer:
        assert "CPU" in recognizer.backend
        assert re.fullmatch("not on TensorRT: .*engine.key: not a plain file; .*", recognizer.notes[0])
    result = tlee_build(received)
    assert result.returncode == 2 and re.fullmatch("tlee-build: .*/engine.key: not a plain file; .*\n", result.stderr)


def test_a_foreign_timing_cache_is_not_used(received, monkeypatch):
    timing = received / "engines" / NANO_KEY / "timing.cache"
    timing.write_bytes(b"crash it")
    assert tlee_build(received, "--segment", "split0=fp32").returncode == 0
    assert timing.read_bytes() != b"crash it"


def test_a_record_that_names_files_elsewhere_reaches_nothing(received, tmp_path):
    """As a bundle from somebody else may have it: names that leave the folder, links, control characters."""
    precious = tmp_path / "precious.engine"
    precious.write_bytes(b"mine")
    folder = received / "engines" / NANO_KEY
    record = json.loads((folder / RECORD).read_text())
    entry = next(iter(record["engines"].values()))
    names = ("../../../precious.engine", str(precious), "\x1b[2Jx.engine", "\ud800.engine", "")
    record["engines"] = {name: dict(entry, bytes=10**300, sha256=None) for name in names}
    (folder / RECORD).write_text(json.dumps(record))
    (folder / "\x1b[2J.engine").write_bytes(b"whose?")
    (folder / "link.engine").symlink_to(precious)
    (folder / ".building-x").symlink_to(tmp_path)
    listed = tlee_build(received, "--list")
    assert (listed.returncode, listed.stderr) == (0, "") and "\x1b" not in listed.stdout
    assert r"\x1b[2J.engine" in listed.stdout
    cleaned = tlee_build(received, "--clean")
    assert (cleaned.returncode, cleaned.stderr) == (0, "") and "\x1b" not in cleaned.stdout
    assert list(folder.iterdir()) == [] and precious.read_bytes() == b"mine"
    assert tlee_build(received).returncode == 0


def test_hundreds_of_devices_are_named_in_a_short_line(received, load):
    load("8.2", "nano")
    shutil.rmtree(received / "engines" / NANO_KEY)
    for number in range(300):
        (received / "engines" / f"board-{number:04}").mkdir()
        (received / "engines" / f"board-{number:04}" / RECORD).touch()
    with pytest.raises(EngineError) as caught:
        Recognizer.load(str(received), backend="tensorrt")
    assert "board-0000, board-0001, board-0002 and 297 more" in str(caught.value) and len(str(caught.value)) < 500


def test_an_altered_engine_is_not_loaded_between_the_check_and_the_run(nano, load, monkeypatch):
    """Whoever may write the folder exchanges the file as soon as it was hashed."""
    load("8.2", "nano")
    no_engine_is_loaded(monkeypatch)
    real = EngineStore.read

    def exchanged(store, file):
        with open(store.path(file), "r+b") as stream:
            stream.write(b"evil")
        return real(store, file)

    monkeypatch.setattr(EngineStore, "read", exchanged)
    with pytest.raises(TleeError, match="engine: altered; build it again"):
        Recognizer.load(str(nano), backend="tensorrt")
