"""Where the system is at fault, no file is: what is to be done goes by the cause."""

import errno
import os

import pytest

from tlee.bundle import Bundle
from tlee.errors import BundleError, UsageError
from tlee.files import atomic_write
from tlee.reading import parsed, read_bytes


def failing(code):
    def call(*_, **__):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.EMFILE, r"let this process open more files \(ulimit"),
        (errno.EACCES, "check the path$|make it readable$"),
    ],
)
def test_few_descriptors_are_no_fault_of_what_is_opened(code, remedy, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", failing(code))
    with pytest.raises(UsageError, match=f"a.json: {os.strerror(code)}; ({remedy})"):
        read_bytes("a.json", 10)
    with pytest.raises(BundleError, match=f"cannot be opened .{os.strerror(code)}.; ({remedy})"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENFILE, "Too many open files in system"), "Too many open files in system; close other programs"),
        (MemoryError(), "not enough memory to read it; close other programs, or add swap; or copy it again"),
        (ValueError("at byte 3"), r"not a report that can be read \(at byte 3\); copy it again"),
    ],
)
def test_nor_of_what_is_parsed(error, said):
    def parse():
        raise error

    with pytest.raises(UsageError, match=f"^a: {said}"):
        parsed("a", parse, "a report", "copy it again")


def test_nor_of_where_something_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tlee.files.temporary_file", failing(errno.EMFILE))
    with pytest.raises(UsageError, match="Too many open files.; let this process open more files"):
        with atomic_write(tmp_path / "a"):
            pass
