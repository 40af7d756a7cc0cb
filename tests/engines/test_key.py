"""The key that engines are signed with: made once, for one user, and never among the engines."""

import os
import resource
import stat
import subprocess
import sys

import pytest

from tlee.engines.key import BYTES, find_key, own_key, signature
from tlee.errors import UsageError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where this user's key is; nothing is there yet."""
    monkeypatch.delenv("TLEE_ENGINE_KEY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data" / "tlee" / "engine.key"


def test_the_first_build_makes_a_key_that_stays_and_that_nobody_else_may_read(place, tmp_path):
    assert find_key() is None and not place.exists()
    key = own_key(str(tmp_path / "engines"))
    assert len(key) == BYTES and len(set(key)) > 8
    assert key == own_key(str(tmp_path / "engines")) == find_key() == place.read_bytes()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert os.listdir(place.parent) == ["engine.key"]


@pytest.mark.parametrize("data", [None, "", "relative"])
def test_without_a_folder_for_data_it_is_in_the_home(tmp_path, monkeypatch, data):
    monkeypatch.delenv("TLEE_ENGINE_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if data is not None:
        monkeypatch.setenv("XDG_DATA_HOME", data)
    own_key(str(tmp_path / "engines"))
    assert (tmp_path / ".local/share/tlee/engine.key").exists()


def test_first_builds_at_once_have_one_key(place, tmp_path):
    code = "import sys; from tlee.engines.key import own_key; print(own_key(sys.argv[1]).hex())"
    command = [sys.executable, "-c", code, str(tmp_path / "engines")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert {process.communicate(timeout=300)[0] for process in started} == {place.read_bytes().hex() + "\n"}
    assert os.listdir(place.parent) == ["engine.key"]


def test_a_link_to_a_key_is_followed(place, tmp_path):
    place.parent.mkdir(parents=True)
    place.symlink_to(tmp_path / "secret")
    assert own_key(str(tmp_path / "engines")) == (tmp_path / "secret").read_bytes()
    assert place.is_symlink()


def readable_by_others(place):
    place.write_bytes(b"k" * BYTES)
    place.chmod(0o640)


def empty(place):
    place.touch(0o600)


def short(place):
    place.write_bytes(b"k" * (BYTES - 1))
    place.chmod(0o600)


def long(place):
    place.touch(0o600)
    os.truncate(place, 1 << 40)


def a_link_to_nothing(place):
    place.symlink_to("nowhere/engine.key")


@pytest.mark.parametrize(
    "make, line",
    [
        (readable_by_others, "other users may read or write it; chmod 600 it if nobody did, else remove it"),
        (empty, "shorter than 32 bytes; remove it: the next build makes one"),
        (short, "shorter than 32 bytes; remove it"),
        (long, "bytes, more than the 4,096"),
        (os.mkfifo, "not a plain file"),
        (os.mkdir, "directory|a folder"),
        (a_link_to_nothing, "No such file or directory; .* set TLEE_ENGINE_KEY=FILE"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_key_that_others_may_know_or_that_is_none_is_one_line(place, tmp_path, make, line):
    place.parent.mkdir(parents=True)
    make(place)
    with pytest.raises(UsageError, match=rf"engine\.key: .*({line})"):
        find_key()
    with pytest.raises(UsageError, match=r"engine\.key: "):
        own_key(str(tmp_path / "engines"))


def test_a_key_of_another_user_is_not_taken_but_by_root(place, monkeypatch):
    place.parent.mkdir(parents=True)
    place.write_bytes(b"k" * BYTES)
    place.chmod(0o600)
    real, owner = os.stat, place.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1000)

    def other(path, *rest, **more):
        found = list(real(path, *rest, **more))
        found[4] = owner + 2000
        return os.stat_result(found)

    monkeypatch.setattr("tlee.engines.key.os.stat", other)
    with pytest.raises(UsageError, match="belongs to another user; set TLEE_ENGINE_KEY=FILE"):
        find_key()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert find_key() == b"k" * BYTES


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch, tmp_path):
    monkeypatch.delenv("TLEE_ENGINE_KEY")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(UsageError, match="home folder: this user has none.*; set TLEE_ENGINE_KEY=FILE"):
        own_key(str(tmp_path))


def test_a_place_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()  # in which not even root makes a folder
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "file/engine.key"))
    with pytest.raises(UsageError, match="/file/engine.key: cannot be written .*; set TLEE_ENGINE_KEY=FILE"):
        own_key(str(tmp_path / "engines"))


def test_a_full_disk_leaves_no_key_that_is_too_short(place, tmp_path):
    code = "import sys; from tlee.engines.key import own_key; own_key(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path / "engines")]
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))}
    result = subprocess.run(command, capture_output=True, text=True, **limit)
    assert "cannot be written (File too large); set TLEE_ENGINE_KEY" in result.stderr
    assert os.listdir(place.parent) == []


def test_a_key_among_the_engines_is_refused(monkeypatch, tmp_path):
    (tmp_path / "engines").mkdir()
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "engines" / "engine.key"))
    with pytest.raises(UsageError, match="engine.key: the key of engines, and among them"):
        own_key(str(tmp_path / "engines"))
    assert not os.listdir(tmp_path / "engines")


def test_a_signature_is_for_one_device_one_content_and_one_key():
    args = [(b"k" * 32, "orin", b"record"), (b"K" * 32, "orin", b"record"), (b"k" * 32, "nano", b"record")]
    args += [(b"k" * 32, "orin", b"records"), (b"k" * 32, "orin\udcff", b"record")]
    assert len({signature(*values) for values in args}) == len(args)
