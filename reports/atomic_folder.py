"""Folders that appear whole or not at all, and replace others so that readers never see a mixture."""

import contextlib
import ctypes
import errno
import os
import platform
import shutil
from collections.abc import Iterator, Sequence

from tlee.errors import UsageError, writing
from tlee.files import FIXED, default_mode
from tlee.locks import remove, temporary_folder, write_lock
from tlee.replacing import READY, finish, link_or_copy, old_name

AT_CWD, EXCHANGE = -100, 2  # of renameat2(2)
SYSTEM_CALL = {"x86_64": 316, "aarch64": 276}  # its number; glibc has no name for it before 2.28


@contextlib.contextmanager
def atomic_folder(path: str, replace: bool = False, keep: Sequence[str] = ()) -> Iterator[str]:
    """A new folder that takes the name `path` when the block ends, or vanishes if it fails or is interrupted.

    Args:
        path: links are followed.
        replace: whether it may replace a folder of that name.
        keep: folders inside the old one that stay.

    Raises:
        UsageError: the parent folder cannot be written, `path` exists and `replace` is false, or another process writes
            this folder.
    """
    _check_free(path, replace)
    with write_lock(path, folder=True) as place:
        with writing(path):
            finish(place)
            _check_free(path, replace)  # now that nobody else can write it
            temporary = temporary_folder(place)
        try:
            yield temporary
            with writing(path):
                os.chmod(temporary, default_mode(0o777))
                _replace(temporary, place, keep)
        finally:
            with contextlib.suppress(OSError):
                finish(place)
            remove(temporary)  # or the old folder, which has its name now


def _check_free(path: str, replace: bool) -> None:
    if os.path.lexists(path) and not replace:
        raise UsageError(path, "exists already", "choose another name, or add --replace")


def _replace(new: str, place: str, keep: Sequence[str]) -> None:
    """Put a folder in a locked place; the old one, if any, takes its name. Raises OSError: nothing has changed."""
    if not os.path.lexists(place):
        os.rename(new, place)
        return
    try:
        for name in keep:
            if os.path.isdir(os.path.join(place, name)):
                _link_tree(os.path.join(place, name), os.path.join(new, name))
        error = _renameat2(new, place)
        if error in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM):  # no such call here
            os.rename(place, old_name(place))
            os.rename(new, place)
            os.rename(old_name(place), new)
        elif error:
            raise OSError(error, os.strerror(error))
    except OSError as failure:
        if failure.errno not in FIXED:
            raise
        _stage(new, place, keep)
        finish(place)


def _link_tree(source: str, target: str) -> None:
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=link_or_copy)
    except shutil.Error as error:
        raise OSError(errno.EIO, str(error.args[0][0][2])[:200]) from None  # the first of a list


def _renameat2(new: str, place: str) -> int:
    """Exchange two names; 0 or the error's number."""
    if platform.machine() not in SYSTEM_CALL:
        return errno.ENOSYS
    names = (AT_CWD, os.fsencode(new), AT_CWD, os.fsencode(place))
    failed = ctypes.CDLL(None, use_errno=True).syscall(SYSTEM_CALL[platform.machine()], *names, EXCHANGE)
    return ctypes.get_errno() if failed else 0


def _stage(new: str, place: str, keep: Sequence[str]) -> None:
    """Copy all that is new into the folder itself, under a name that says that it is complete."""
    stage = temporary_folder(place, inside=True)
    try:
        for name in set(os.listdir(new)).difference(keep):
            copy = shutil.copytree if os.path.isdir(os.path.join(new, name)) else shutil.copy2
            copy(os.path.join(new, name), os.path.join(stage, name))
        for name in keep:  # an empty folder says that the old content stays
            os.makedirs(os.path.join(stage, name), exist_ok=True)
        os.rename(stage, os.path.join(place, READY))
    except BaseException:
        remove(stage)
        raise
