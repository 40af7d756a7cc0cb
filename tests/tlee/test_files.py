"""Files and folders appear whole or not at all."""

import os

import pytest

from tlee.errors import UsageError
from tlee.files import growing_file, whole_file, whole_folder


def test_a_file_appears_when_the_block_ends(tmp_path):
    with whole_file(str(tmp_path / "a.txt")) as stream:
        stream.write("one")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_block_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ValueError), whole_file(str(tmp_path / "a.txt")) as stream:
        stream.write("new")
        raise ValueError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupted_block_leaves_the_old_file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_file(str(tmp_path / "a.txt")) as stream:
        stream.write("new")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_interrupted_block_of_lines_keeps_those_that_are_complete(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_file(str(tmp_path / "a.txt"), lines=True) as stream:
        stream.write('{"a": 1}\n{"b": ')
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == '{"a": 1}\n'


def test_a_full_disk_is_one_line():
    with pytest.raises(UsageError, match="cannot be written"), whole_file("/dev/full/a.txt") as stream:
        stream.write("x")


def test_a_log_grows_and_what_is_flushed_is_there_at_once(tmp_path):
    (tmp_path / "a.txt").write_text("one\n")
    with pytest.raises(ValueError), growing_file(str(tmp_path / "a.txt")) as stream:
        stream.write("two\n")
        stream.flush()
        assert (tmp_path / "a.txt").read_text() == "one\ntwo\n"
        raise ValueError


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    place = str(tmp_path / "none" / "a")
    with pytest.raises(UsageError, match="cannot be written .*No such file"), growing_file(place):
        pass
    with pytest.raises(UsageError, match="cannot be written .*No space left"), growing_file("/dev/full") as stream:
        stream.write("x")


@pytest.mark.parametrize("name", ["none/a.txt", "file/a.txt", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=f"{name}: cannot be written"), whole_file(str(tmp_path / name)):
        pass


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError), whole_folder(str(tmp_path / "a")) as folder:
        open(os.path.join(folder, "x"), "w").close()
        raise ValueError
    assert os.listdir(tmp_path) == []
    with whole_folder(str(tmp_path / "a")) as folder:
        open(os.path.join(folder, "x"), "w").close()
    assert os.listdir(tmp_path / "a") == ["x"] and os.listdir(tmp_path) == ["a"]


def test_a_folder_gives_way_only_when_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("")
    with pytest.raises(UsageError, match="exists already"), whole_folder(str(tmp_path / "a")):
        pass
    with whole_folder(str(tmp_path / "a"), replace=True) as folder:
        open(os.path.join(folder, "new"), "w").close()
    assert os.listdir(tmp_path / "a") == ["new"] and os.listdir(tmp_path) == ["a"]
