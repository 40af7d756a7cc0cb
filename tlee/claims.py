"""Who writes where: one writer for a place, nothing left of writers that were killed, and readers who keep what they
opened while it is replaced.

A writer of NAME holds `.NAME.lock` beside it; the kernel lets go of the lock when the process ends, however it ends.
What is being written is called `.NAME.xxxxxxxx.tlee-part`. Where a folder may be written and the one around it may not,
both lie in it as `.tlee.lock` and so on.
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

from tlee.errors import UsageError, remedy_of

CANNOT_WRITE = "cannot be written ({})"
CHOOSE_FOLDER = "choose a folder that you may write to and that has room"
BUSY, WAIT = "another command is writing it", "wait until that has ended, or choose another name"
PART = ".tlee-part"
INSIDE = ".tlee."  # names inside of a folder that has no room beside it, whatever that is called from elsewhere
LEFT = "[a-z0-9_]{8}" + re.escape(PART)
PATIENCE = 10.0  # seconds that a reader waits for a writer
READING = 3.0  # seconds that a writer waits for a reader: most end well before
_claimed: Set[str] = set()  # places of this process


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
def claimed(path: str, folder: bool = False) -> Iterator[str]:
    """Be the only writer of a place until the block ends: for work that ends in writing it, so that what is in the way
    is said before. What killed writers left is removed. May be nested within a process.

    Args:
        folder: whether a folder is to stand there.

    Yields:
        The place, links followed.

    Raises:
        UsageError: it cannot be written, or another process has claimed it.
    """
    path = os.fspath(path)
    if not folder and is_stream(path):
        yield path
        return
    place = os.path.realpath(path)
    if place in _claimed:
        yield place
        return
    _check(path, place, folder)
    with _locked(path, place):
        _tidy(place)
        yield place


def temporary_file(place: str) -> str:
    """A new empty file, for what is to take a claimed place. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=_prefix(place), suffix=PART, dir=_room(place))
    os.close(handle)
    return name


def temporary_folder(place: str, inside: bool = False) -> str:
    """A new folder, for what is to take a claimed place; beside it, or inside where the place itself must stay. Raises
    OSError."""
    prefix, room = (INSIDE, place) if inside else (_prefix(place), _room(place))
    return tempfile.mkdtemp(prefix=prefix, suffix=PART, dir=room)


def reserved(name: str) -> bool:
    """Whether a name inside of a folder is that of something that is there only while the folder is written."""
    return re.fullmatch(re.escape(INSIDE) + "(lock|ready|" + LEFT + ")", name) is not None


def remove(path: str) -> None:
    """Remove a file or folder, unless somebody reads in it: then a later writer will. Nothing where that fails."""
    with contextlib.suppress(OSError):
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _lock_folder(descriptor, fcntl.LOCK_EX):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def unread(path: str) -> Iterator[None]:
    """While the files of a folder are replaced where they are: wait for those who read in it, though not for one who
    never ends, and let those who come now wait. Raises OSError."""
    deadline = time.monotonic() + READING
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _lock_folder(descriptor, fcntl.LOCK_EX) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


class HeldFolder:
    """A folder as it was when opened, under whatever name it goes now: who replaces it leaves it to its readers.

    Attributes:
        descriptor: for `dir_fd`; None once closed.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.descriptor: Optional[int] = None
        deadline = time.monotonic() + PATIENCE
        while True:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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


def _lock_folder(descriptor: int, kind: int) -> bool:
    """Whether nobody holds it the other way; so where there are no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


def _room(place: str) -> str:
    """Where temporary names go."""
    beside = os.path.dirname(place)
    inside = os.path.isdir(place) and os.access(place, os.W_OK) and not os.access(beside, os.W_OK)
    return place if inside else beside


def _prefix(place: str) -> str:
    return INSIDE if _room(place) == place else f".{os.path.basename(place)}."


def _check(path: str, place: str, folder: bool) -> None:
    problem = None
    if os.path.isdir(place) and not folder:
        problem = errno.EISDIR
    elif os.path.lexists(place) and not os.access(place, os.W_OK):
        problem = errno.EACCES
    if problem:
        raise UsageError(path, CANNOT_WRITE.format(os.strerror(problem)), CHOOSE_FOLDER)


@contextlib.contextmanager
def _locked(path: str, place: str) -> Iterator[None]:
    name = os.path.join(_room(place), _prefix(place) + "lock")
    try:
        handle = _lock(name)
    except BlockingIOError:
        raise UsageError(path, BUSY, WAIT) from None
    except OSError as error:
        raise UsageError(path, CANNOT_WRITE.format(error.strerror), remedy_of(error, CHOOSE_FOLDER)) from None
    _claimed.add(place)
    try:
        yield
    finally:
        _claimed.remove(place)
        with contextlib.suppress(OSError):
            os.unlink(name)  # while it is held: whoever waits for it looks whether it is still the one of that name
        os.close(handle)


def _lock(name: str) -> int:
    """The descriptor of a lock file that nobody else holds. Raises OSError; BlockingIOError where somebody does.

    Record locks belong to a process and are not inherited, so loader processes that outlive it hold nothing.
    """
    while True:
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(handle)
                raise BlockingIOError(error.errno, BUSY) from None
            return handle  # no locks on this file system
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(handle), os.stat(name)):
                return handle
        os.close(handle)


def _tidy(place: str) -> None:
    """Remove what killed writers left of a place that this process has locked."""
    for room, prefix in ((_room(place), _prefix(place)), (place, INSIDE)):
        left = re.compile(re.escape(prefix) + LEFT)
        with contextlib.suppress(OSError):
            for name in os.listdir(room):
                if left.fullmatch(name):
                    remove(os.path.join(room, name))
