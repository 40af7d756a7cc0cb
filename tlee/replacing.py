"""How one folder takes the place of another: readers see the old one or the new one, never none and no mixture.

- In one step, where the kernel can exchange two names (Linux, on nearly all file systems).
- Else by two renames; what lies between is waited for, and mended where the writer was killed there.
- A mount point cannot be renamed, nor what lies in a folder of others: its content is replaced inside. All that is new
  lies complete in `.tlee.ready` before the first file is, so that whoever comes next can finish what was broken off.
"""

import contextlib
import errno
import os
import shutil
import time
from typing import Iterator, Sequence, Set

from tlee.claims import (
    CANNOT_WRITE,
    CHOOSE_FOLDER,
    INSIDE,
    PATIENCE,
    claimed,
    remove,
    reserved,
    temporary_folder,
    unread,
)
from tlee.errors import UsageError

AT_CWD, EXCHANGE = -100, 2  # of renameat2(2)
SYSTEM_CALL = {"x86_64": 316, "aarch64": 276}  # its number; glibc has no name for it before 2.28
# What renaming says of a mount point, where the folder around may not be written, and where each user renames only own
# things, as in /tmp.
FIXED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
READY = INSIDE + "ready"


def take_place(new: str, place: str, keep: Sequence[str] = ()) -> None:
    """Let a folder take a claimed place.

    Args:
        new: where it is now, beside the place; the one that stood there takes this name, or none.
        keep: names inside of the old folder that stay.

    Raises:
        OSError: nothing has changed.
    """
    if not os.path.lexists(place):
        os.rename(new, place)
        return
    try:
        for name in keep:
            if os.path.isdir(os.path.join(place, name)):
                link_tree(os.path.join(place, name), os.path.join(new, name))
        _exchange(new, place)
    except OSError as error:
        if error.errno not in FIXED:
            raise
        _stage(new, place, keep)
        finish(place)


def link_or_copy(source: str, target: str) -> None:
    """Give a file another name, or copy it where it cannot have two: files are replaced, never written to. Raises
    OSError."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def link_tree(source: str, target: str) -> None:
    """As `link_or_copy`, of a folder."""
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy)
    except shutil.Error as error:
        raise OSError(errno.EIO, str(error.args[0][0][2])[:200]) from None  # the first of a list


def settled(path: str) -> None:
    """Before a folder is read: wait for whoever replaces it in several steps, and finish that where it was broken off.

    Raises:
        UsageError: it would have to be finished, and cannot be written.
    """
    place = os.path.realpath(path)
    deadline = time.monotonic() + PATIENCE
    while unfinished(place) and time.monotonic() < deadline:
        try:
            with claimed(place, folder=True):
                finish(place)
        except UsageError:  # claimed by another one, who may be at it
            if unfinished(place) and time.monotonic() + 0.1 > deadline:
                raise
            time.sleep(0.02)
        except OSError as error:
            raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None


def finish(place: str) -> None:
    """Finish a replacement that was broken off, of a claimed place. Raises OSError."""
    if os.path.isdir(_old(place)):
        if os.path.lexists(place):
            remove(_old(place))
        else:
            os.rename(_old(place), place)
    if _is_ready(place):
        with unread(place):
            _fill(os.path.join(place, READY), place)


def unfinished(place: str) -> bool:
    """Whether a folder is being replaced in several steps, or that was broken off."""
    return _is_ready(place) or not os.path.lexists(place) and os.path.isdir(_old(place))


def _is_ready(place: str) -> bool:
    """Whether a folder has what is to replace its content. It may have come with a bundle from anywhere: what has links
    in it could be written through them to places that are none of ours, and is left to whoever reads the folder."""
    ready = os.path.join(place, READY)
    if os.path.islink(ready) or not os.path.isdir(ready):
        return False
    for at, folders, names in os.walk(place):
        if any(os.path.islink(os.path.join(at, name)) for name in folders + names):
            return False
    return True


def _old(place: str) -> str:
    return os.path.join(os.path.dirname(place), f".{os.path.basename(place)}.tlee-old")


def _exchange(new: str, place: str) -> None:
    error = _renameat2(new, place)
    if error == 0:
        return
    if error not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):
        raise OSError(error, os.strerror(error))
    os.rename(place, _old(place))
    os.rename(new, place)
    os.rename(_old(place), new)


def _renameat2(new: str, place: str) -> int:
    """Exchange two names; 0 or the error's number."""
    import ctypes
    import platform

    number = SYSTEM_CALL.get(platform.machine())
    if number is None:
        return errno.ENOSYS
    library = ctypes.CDLL(None, use_errno=True)
    failed = library.syscall(number, AT_CWD, os.fsencode(new), AT_CWD, os.fsencode(place), EXCHANGE)
    return ctypes.get_errno() if failed else 0


def _stage(new: str, place: str, keep: Sequence[str]) -> None:
    """Put all that is new into the folder itself, under a name that says that it is complete."""
    stage = temporary_folder(place, inside=True)
    try:
        for name in os.listdir(new):
            if name not in keep:
                _copy(os.path.join(new, name), os.path.join(stage, name))
        for name in keep:  # what is named here and not there stays
            os.makedirs(os.path.join(stage, name), exist_ok=True)
        os.rename(stage, os.path.join(place, READY))
    except BaseException:
        remove(stage)
        raise


def _copy(source: str, target: str) -> None:
    if os.path.isdir(source):
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)


def _fill(ready: str, place: str) -> None:
    """Give a folder the content that is ready in it, file by file; what is ready stays complete to the end."""
    for name in _files(ready):
        moving, target = os.path.join(ready, INSIDE), os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(moving)
        link_or_copy(os.path.join(ready, name), moving)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(moving, target)
    names = set(_files(ready))
    for name in set(_files(place)) - names:
        top = name.split(os.sep)[0]
        kept = os.path.isdir(os.path.join(ready, top)) and not os.listdir(os.path.join(ready, top))
        if not kept and not reserved(top):
            os.unlink(os.path.join(place, name))
    done = temporary_folder(place, inside=True)
    os.rename(ready, os.path.join(done, READY))  # what is being removed is not ready any more
    remove(done)


def _files(folder: str) -> Iterator[str]:
    """Names of a folder's files, relative to it, without what is ready in it."""
    found: Set[str] = set()
    for at, folders, names in os.walk(folder):
        if at == folder:
            folders[:] = [name for name in folders if not reserved(name)]
        found.update(os.path.relpath(os.path.join(at, name), folder) for name in names)
    return iter(sorted(found - {INSIDE}))
