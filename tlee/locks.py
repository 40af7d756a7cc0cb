"""Locks on what is written, names for what is unfinished, and folders held open while they are read.

A writer of NAME holds `.NAME.lock` next to it; the kernel releases the lock when the process ends, however it ends.
What is being written is called `.NAME.xxxxxxxx.tlee-part`. Where a folder may be written and its parent may not, both
lie inside the folder as `.tlee.lock` and so on.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from typing import Iterator, Optional, Set

from tlee.errors import UsageError, writing

BUSY, WAIT = "another command is writing it", "wait until that has ended, or choose another name"
PART = ".tlee-part"
INSIDE = ".tlee."  # prefix of names inside a folder, which may have another name when seen from elsewhere
LEFT = "[a-z0-9_]{8}" + re.escape(PART)
PATIENCE = 10.0  # seconds that a reader waits for a writer
READING = 3.0  # seconds that a writer waits for a reader: most end well before
_locked: Set[str] = set()  # by this process


def is_stream(path: str) -> bool:
    """Whether writing goes to a device, a pipe or an open file rather than to a file of that name."""
    if os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/")):
        return True
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextlib.contextmanager
def write_lock(path: str, folder: bool = False) -> Iterator[str]:
    """Be the only writer of a file or folder until the block ends. Taken before work that ends in writing it, so that
    problems show before the work. Removes what killed writers left. May be nested within a process. Yields the path,
    links followed. Raises UsageError where it cannot be written, or another process is writing it."""
    path = os.fspath(path)
    if not folder and is_stream(path):
        yield path
        return
    place = os.path.realpath(path)
    if place in _locked:
        yield place
        return
    name = os.path.join(_room(place), _prefix(place) + "lock")
    with writing(path):
        if os.path.isdir(place) and not folder:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if os.path.lexists(place) and not os.access(place, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        handle = _lock(name, path)
    _locked.add(place)
    try:
        for room, prefix in ((_room(place), _prefix(place)), (place, INSIDE)):
            with contextlib.suppress(OSError):
                for left in os.listdir(room):
                    if re.fullmatch(re.escape(prefix) + LEFT, left):
                        remove(os.path.join(room, left))
        yield place
    finally:
        _locked.remove(place)
        with contextlib.suppress(OSError):
            os.unlink(name)  # while locked: a process waiting for it checks that the name is still this file's
        os.close(handle)


def temporary_file(place: str) -> str:
    """A new empty file that is to replace a locked one. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=_prefix(place), suffix=PART, dir=_room(place))
    os.close(handle)
    return name


def temporary_folder(place: str, inside: bool = False) -> str:
    """A new folder that is to replace a locked one: next to it, or inside one that must stay. Raises OSError."""
    prefix, room = (INSIDE, place) if inside else (_prefix(place), _room(place))
    return tempfile.mkdtemp(prefix=prefix, suffix=PART, dir=room)


def is_temporary(name: str) -> bool:
    """Whether this is the name of something that a folder holds only while it is written."""
    return re.fullmatch(re.escape(INSIDE) + "(lock|ready|" + LEFT + ")", name) is not None


def remove(path: str) -> None:
    """Remove a file or folder if that can be done and nobody reads in it; else a later writer will."""
    with contextlib.suppress(OSError):
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        descriptor = _open_folder(path)
        try:
            if _lock_folder(descriptor, fcntl.LOCK_EX):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def without_readers(path: str) -> Iterator[None]:
    """Hold off new readers of a folder whose files are being replaced, after waiting for present ones, though not for
    one that never ends. Raises OSError."""
    deadline = time.monotonic() + READING
    descriptor = _open_folder(path)
    try:
        while not _lock_folder(descriptor, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


class OpenFolder:
    """A folder as it was when opened, whatever its name is now: a writer that replaces it leaves it to its readers. Its
    `descriptor` is for `dir_fd`, None once closed. Raises OSError where it cannot be opened."""

    def __init__(self, path: str) -> None:
        self.descriptor: Optional[int] = None
        deadline = time.monotonic() + PATIENCE
        while True:
            descriptor = _open_folder(path)
            if _lock_folder(descriptor, fcntl.LOCK_SH) and os.path.samestat(os.fstat(descriptor), os.stat(path)):
                self.descriptor = descriptor
                return
            os.close(descriptor)  # replaced since, and being removed; or being filled
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "replaced again and again", path)
            time.sleep(0.001)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None

    def __del__(self) -> None:
        self.close()


def _open_folder(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _lock_folder(descriptor: int, kind: int) -> bool:
    """Whether the lock was got; True where the file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


def _room(place: str) -> str:
    """The folder for temporary names."""
    parent = os.path.dirname(place)
    inside = os.path.isdir(place) and os.access(place, os.W_OK) and not os.access(parent, os.W_OK)
    return place if inside else parent


def _prefix(place: str) -> str:
    return INSIDE if _room(place) == place else f".{os.path.basename(place)}."


def _lock(name: str, path: str) -> int:
    """The descriptor of a lock file that nobody else holds. Raises OSError; UsageError where another process holds it.

    Record locks belong to a process and are not inherited, so loader processes that outlive it hold nothing.
    """
    while True:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(handle)
                raise UsageError(path, BUSY, WAIT) from None
            return handle  # no locks on this file system
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(name)):
                return handle
        os.close(handle)
