"""Files appear whole or not at all."""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys

import pytest

from tlee.errors import UsageError
from tlee.files import append_lines, atomic_write, write_json
from tlee.locks import write_lock
from tlee.reading import read_json


def test_a_file_appears_when_the_block_ends(tmp_path):
    with atomic_write(str(tmp_path / "a.txt")) as stream:
        stream.write("one")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError), atomic_write(str(tmp_path / "a.txt")) as stream:
        stream.write("new")
        raise ValueError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(str(tmp_path / "a.txt")) as stream:
        stream.write("new")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupted_block_of_lines_keeps_those_that_are_complete(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_write(str(tmp_path / "a.txt"), lines=True) as stream:
        stream.write('{"a": 1}\n{"b": ')
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == '{"a": 1}\n'


def test_a_full_disk_is_one_line():
    with pytest.raises(UsageError, match="cannot be written"), atomic_write("/dev/full/a.txt") as stream:
        stream.write("x")


def test_a_log_grows_and_what_is_flushed_is_there_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(ValueError), append_lines(str(tmp_path / "a.txt")) as stream:
        stream.write("two\n")
        stream.flush()
        assert (tmp_path / "a.txt").read_text() == "one\ntwo\n"
        raise ValueError


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    place = str(tmp_path / "none" / "a")
    with pytest.raises(UsageError, match="cannot be written .*No such file"), append_lines(place):
        pass
    with pytest.raises(UsageError, match="cannot be written .*No space left"), append_lines("/dev/full") as stream:
        stream.write("x")


@pytest.mark.parametrize("name", ["none/a.txt", "file/a.txt", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=f"{name}: cannot be written"), atomic_write(str(tmp_path / name)):
        pass


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.txt").symlink_to(tmp_path / "elsewhere" / "b.txt")
    for text in ("new", "newer"):  # the file is there only the second time
        with atomic_write(str(tmp_path / "a.txt")) as stream:
            stream.write(text)
        assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "elsewhere" / "b.txt").read_text() == text
    assert not left(tmp_path) and not left(tmp_path / "elsewhere")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "a.txt").chmod(mode)
    with atomic_write(str(tmp_path / "a.txt")) as stream:
        stream.write("new")
    assert (tmp_path / "a.txt").stat().st_mode & 0o7777 == mode


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_write(str(tmp_path / "a.txt")):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


def test_devices_and_pipes_are_written_to(tmp_path):
    with atomic_write("/dev/null") as stream:
        stream.write("x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(UsageError, match="/dev/full: cannot be written .No space left"), atomic_write("/dev/full") as s:
        s.write("x")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with atomic_write(str(tmp_path / "pipe")) as stream:
        stream.write("through")
    assert os.read(reader, 100) == b"through" and os.listdir(tmp_path) == ["pipe"]
    os.close(reader)


def test_an_open_descriptor_is_written_to(tmp_path):
    with open(tmp_path / "a.txt", "w+") as file:
        with atomic_write(f"/dev/fd/{file.fileno()}") as stream:
            stream.write("through")
        file.seek(0)
        assert file.read() == "through"


@pytest.mark.parametrize("error", [errno.EBUSY, errno.EPERM])
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_file_that_cannot_be_replaced_gets_the_content(tmp_path, monkeypatch, error, interrupted):
    """As one that is mounted into a container, or somebody else's in /tmp: its name cannot be given to another."""
    (tmp_path / "a.txt").write_text("old, and longer")
    inode = (tmp_path / "a.txt").stat().st_ino

    def replace(source, target):
        raise OSError(error, os.strerror(error))

    copyfile, copies = shutil.copyfile, []

    def copy(source, target):
        copies.append(target)
        if interrupted and len(copies) == 1:
            os.truncate(target, 1)
            raise KeyboardInterrupt
        copyfile(source, target)

    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(KeyboardInterrupt) if interrupted else contextlib.nullcontext():
        with atomic_write(str(tmp_path / "a.txt")) as stream:
            stream.write("new")
    assert (tmp_path / "a.txt").read_text() == "new" and (tmp_path / "a.txt").stat().st_ino == inode
    assert os.listdir(tmp_path) == ["a.txt"]


def test_errors_of_others_stay_theirs(tmp_path):
    with pytest.raises(BrokenPipeError), atomic_write(str(tmp_path / "a.txt")):
        raise BrokenPipeError(32, "Broken pipe")
    assert os.listdir(tmp_path) == []


def test_names_that_are_no_text_can_be_written(tmp_path):
    write_json(str(tmp_path / "a.json"), {"name": os.fsdecode(b"a\xff")})
    assert read_json(str(tmp_path / "a.json")) == {"name": os.fsdecode(b"a\xff")}


def elsewhere(code, *arguments):
    """Python in another process, up to its first line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
    assert process.stdout.readline() == "ready\n"
    return process


WRITER = """
import sys
from tlee.locks import write_lock
from tlee.files import atomic_write, append_lines
with {}(sys.argv[1]) as stream:
    {}
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["atomic_write", "append_lines"])
def test_the_second_writer_is_refused_and_nothing_is_left_of_the_first(tmp_path, kind):
    place = tmp_path / "a"
    other = elsewhere(WRITER.format(kind, "stream.write('{\"half')"), place)
    opened = {"atomic_write": atomic_write, "append_lines": append_lines}[kind]
    try:
        with pytest.raises(UsageError, match="a: another command is writing it; wait until"), opened(str(place)):
            pytest.fail("two writers")
    finally:
        other.kill()
        other.communicate()
    if kind != "append_lines":
        assert len(left(tmp_path)) == 2  # the lock and what was being written
    with opened(str(place)):
        pass
    assert os.listdir(tmp_path) == ["a"]


def test_only_what_is_left_of_the_same_name_is_removed(tmp_path):
    others = [".a.settings", ".a.12345678", ".a.txt.12345678.part", ".a.txt.old", ".a.txt.tlee-old.bak"]
    for name in (*others, ".a.txt.12345678.tlee-part"):
        (tmp_path / name).write_text("")
    with atomic_write(str(tmp_path / "a.txt")):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a.txt"])


def test_a_lock_says_before_the_work_what_is_in_the_way(tmp_path):
    (tmp_path / "folder").mkdir()
    for place, said in ((tmp_path / "none" / "a", "No such file"), (tmp_path / "folder", "Is a directory")):
        with pytest.raises(UsageError, match=f"cannot be written .{said}"), write_lock(str(place)):
            pytest.fail("locked")
    place = str(tmp_path / "a.txt")
    with write_lock(place), write_lock(place), atomic_write(place):
        pass  # nested
    with write_lock("/dev/null"):
        pass


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"a": 1}\n', '{"a": 1}\n'),
        ('{"a": 1}\n{"a": ', '{"a": 1}\n'),
        ('{"a": 1}', '{"a": 1}\n'),
        ("a note", "a note\n"),
        ("", ""),
    ],
)
def test_results_are_appended_on_lines_of_their_own(tmp_path, before, after):
    (tmp_path / "a.jsonl").write_text(before)
    with append_lines(str(tmp_path / "a.jsonl")) as stream:
        stream.write('{"a": 2}\n')
    assert (tmp_path / "a.jsonl").read_text() == after + '{"a": 2}\n'
