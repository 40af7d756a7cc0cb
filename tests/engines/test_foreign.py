"""Engines that came with a bundle, or were tampered with: named, never loaded, built anew, removed on request."""

import json
import os
import random
import re
import shutil

import pytest
from helpers.boards import NANO_KEY, table, tlee_build

from tlee.bundle import Bundle
from tlee.engines import process, worker
from tlee.engines.builder import Builder, find_machine
from tlee.engines.cuda import Gpu
from tlee.engines.inventory import clean, rows
from tlee.engines.planning import BuildOptions
from tlee.engines.store import RECORD, EngineStore
from tlee.errors import EngineError, TleeError
from tlee.runtime import Recognizer
from tlee.runtime.tensorrt_backend import find_engines

GPU = ("NVIDIA Tegra X1", (5, 3), True, 2 << 30, 4 << 30)
THEIRS = "of another machine or user, or damaged"


@pytest.fixture
def received(nano, tmp_path, monkeypatch):
    """A bundle that somebody built engines in, as another user gets it: without a key, or with one of their own."""
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "own" / "engine.key"))
    return nano


def no_engine_is_loaded(monkeypatch):
    def loaded(*_: object):
        raise AssertionError("a foreign engine was loaded")

    monkeypatch.setattr("tlee.engines.interface.TensorRT.deserialize", loaded)


@pytest.mark.parametrize("another", [False, pytest.param(True, marks=pytest.mark.full)], ids=["no key", "another key"])
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
    store = received.parent / "store"  # in the bundle itself links are refused
    shutil.move(received / "engines", store)
    folder = store / NANO_KEY
    record = json.loads((folder / RECORD).read_text())
    entry = next(iter(record["engines"].values()))
    names = ("../../../precious.engine", str(precious), "\x1b[2Jx.engine", "\ud800.engine", "")
    record["engines"] = {name: dict(entry, bytes=10**300, sha256=None) for name in names}
    (folder / RECORD).write_text(json.dumps(record))
    (folder / "\x1b[2J.engine").write_bytes(b"whose?")
    (folder / "link.engine").symlink_to(precious)
    (folder / ".building-x").symlink_to(tmp_path)
    listed = tlee_build(received, "--list", "--engine-dir", store)
    assert (listed.returncode, listed.stderr) == (0, "") and "\x1b" not in listed.stdout
    assert r"\x1b[2J.engine" in listed.stdout
    cleaned = tlee_build(received, "--clean", "--engine-dir", store)
    assert (cleaned.returncode, cleaned.stderr) == (0, "") and "\x1b" not in cleaned.stdout
    assert list(folder.iterdir()) == [] and precious.read_bytes() == b"mine"
    assert tlee_build(received, "--engine-dir", store).returncode == 0


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The kinds of damage and forgery that keep a record nearly right, and plain noise."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 50))):
        place, kind = rng.randrange(len(data) + 1), rng.randrange(6)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place : place + rng.choice((1, 2, 30, 10**6))]
        elif kind == 2:
            data[place:place] = rng.choice(
                (b"9" * 40, b"[" * 3000, b"\\ud800", b"../", b"null", b"1e999", b"\0", b"\xff")
            )
        elif kind == 3:
            data[place:place] = data[place // 2 : place // 2 + rng.randrange(200)]
        elif kind == 4:
            values = (b"true", b"-1", b"[]", b"{}", b'""', b"NaN", b"99999999999999999999")
            data = bytearray(
                bytes(data).replace(rng.choice((b'"an', b"1", b"null", b'"', b"{")), rng.choice(values), 1)
            )
        else:
            data = data[:place] + bytes(rng.randrange(256) for _ in range(rng.randrange(20)))
    return bytes(data)


@pytest.mark.parametrize("count", [300, pytest.param(2000, marks=pytest.mark.full)])
def test_mutated_records_are_believed_by_nothing_that_reads_them(nano, load, monkeypatch, count):
    load("8.2", "nano")
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))
    bundle, folder, rng = Bundle.open(str(nano)), str(nano / "engines"), random.Random(count)
    file, machine, gpu = nano / "engines" / NANO_KEY / RECORD, find_machine("tensorrt"), Gpu(*GPU)
    content = file.read_bytes()
    with monkeypatch.context() as patch:
        no_engine_is_loaded(patch)
        for number in range(count):
            file.write_bytes(mutate(content, rng))
            if file.read_bytes() == content:
                continue
            assert EngineStore(str(file.parent)).distrust == THEIRS
            assert [row[-1] for row in rows(bundle, folder, machine)[1:]] == [THEIRS] * 4
            with pytest.raises(EngineError, match=THEIRS):
                find_engines(bundle, folder, gpu)
            if number % 100 == 0:
                copy = shutil.copytree(nano, nano.parent / str(number) / nano.name)
                assert len(list(clean(Bundle.open(str(copy)), str(copy / "engines"), machine))) == 6
    file.write_bytes(content[:-9])  # the last mutation may have changed nothing
    said: list[str] = []
    results = Builder(bundle, folder, "tensorrt", None, said.append).build(BuildOptions())
    assert all(result.new and result.state == "ready" for result in results) and len(said) == 1


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
