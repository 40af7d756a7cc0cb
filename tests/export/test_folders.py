"""Folders appear whole or not at all."""

import os
import subprocess
import sys

import pytest

from tlee.errors import UsageError
from tlee.export.folders import atomic_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError), atomic_folder(str(tmp_path / "a")) as folder:
        open(os.path.join(folder, "x"), "w").close()
        raise ValueError
    assert os.listdir(tmp_path) == []
    with atomic_folder(str(tmp_path / "a")) as folder:
        open(os.path.join(folder, "x"), "w").close()
    assert os.listdir(tmp_path / "a") == ["x"] and os.listdir(tmp_path) == ["a"]


def test_a_folder_gives_way_only_when_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("")
    with pytest.raises(UsageError, match="exists already"), atomic_folder(str(tmp_path / "a")):
        pass
    with atomic_folder(str(tmp_path / "a"), replace=True) as folder:
        open(os.path.join(folder, "new"), "w").close()
    assert os.listdir(tmp_path / "a") == ["new"] and os.listdir(tmp_path) == ["a"]


def test_a_folder_through_a_link_is_replaced_where_it_is(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with atomic_folder(str(tmp_path / "link"), replace=True) as folder:
        open(os.path.join(folder, "new"), "w").close()
    assert (tmp_path / "link").is_symlink() and os.listdir(tmp_path / "there") == ["new"]


def test_a_new_folder_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_folder(str(tmp_path / "b")):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


WRITER = """
import sys
from tlee.export.folders import atomic_folder
with atomic_folder(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_second_writer_is_refused_and_nothing_is_left_of_the_first(tmp_path):
    place, pipe = tmp_path / "a", subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WRITER, str(place)], stdin=pipe, stdout=pipe, text=True) as other:
        try:
            assert other.stdout.readline() == "ready\n"
            with pytest.raises(UsageError, match="a: another command is writing it"), atomic_folder(str(place)):
                pytest.fail("two writers")
        finally:
            other.kill()
    assert len([path for path in tmp_path.iterdir() if path.name.startswith(".")]) == 2  # the lock and the new folder
    with atomic_folder(str(place)):
        pass
    assert os.listdir(tmp_path) == ["a"]
