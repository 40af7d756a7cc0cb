"""A folder that another one replaces: readers see the old one or the new one, never none and no mixture.

`tlee.reports.atomic_folder` replaces folders. Where the kernel can exchange two names, that is one step. Elsewhere it
takes several, and any reader finishes what a killed writer left:

- Between two renames the old folder is called `.NAME.tlee-old`.
- What cannot be renamed (a mount point, or a folder whose parent may not be written) has its content replaced. All that
  is new lies complete in `.tlee.ready` before the first file is replaced.
"""

import contextlib
import os
import shutil
import time
from typing import List

from tlee.errors import UsageError, writing
from tlee.locks import INSIDE, PATIENCE, is_temporary, remove, temporary_folder, without_readers, write_lock

READY = INSIDE + "ready"


def wait_for_replacement(path: str) -> None:
    """Before a folder is read: wait for a writer that replaces it in several steps, or finish what one left. Raises
    UsageError where it would have to be finished, and cannot be written."""
    place = os.path.realpath(path)
    deadline = time.monotonic() + PATIENCE
    while is_being_replaced(place) and time.monotonic() < deadline:
        with writing(path):
            try:
                with write_lock(place, folder=True):
                    finish(place)
            except UsageError:  # most likely a writer is at work
                if is_being_replaced(place) and time.monotonic() + 0.1 > deadline:
                    raise
                time.sleep(0.02)


def is_being_replaced(place: str) -> bool:
    """Whether a writer is at work in a folder, or was killed there."""
    return _is_ready(place) or not os.path.lexists(place) and os.path.isdir(old_name(place))


def finish(place: str) -> None:
    """Finish a replacement that was broken off; the folder has to be locked. Raises OSError."""
    if os.path.isdir(old_name(place)):
        if os.path.lexists(place):
            remove(old_name(place))
        else:
            os.rename(old_name(place), place)
    if _is_ready(place):
        with without_readers(place):
            _fill(os.path.join(place, READY), place)


def old_name(place: str) -> str:
    return os.path.join(os.path.dirname(place), f".{os.path.basename(place)}.tlee-old")


def link_or_copy(source: str, target: str) -> None:
    """Give a file another name, or copy it where it cannot have two: files are replaced, never written to. Raises
    OSError."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _is_ready(place: str) -> bool:
    """Whether a folder holds what is to replace its content. It may have come with a bundle from anywhere, and through
    links files could be written anywhere: one with links is left alone, for its reader to refuse."""
    ready = os.path.join(place, READY)
    if os.path.islink(ready) or not os.path.isdir(ready):
        return False
    entries = (os.path.join(at, name) for at, folders, names in os.walk(place) for name in folders + names)
    return not any(map(os.path.islink, entries))


def _fill(ready: str, place: str) -> None:
    """Give a folder the content that is ready in it, file by file; what is ready stays complete to the end."""
    new = _files(ready)
    for name in new:
        moving, target = os.path.join(ready, INSIDE), os.path.join(place, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(moving)
        link_or_copy(os.path.join(ready, name), moving)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.replace(moving, target)
    for name in set(_files(place)).difference(new):
        top = os.path.join(ready, name.split(os.sep)[0])
        if not (os.path.isdir(top) and not os.listdir(top)):  # an empty folder: the old content stays
            os.unlink(os.path.join(place, name))
    done = temporary_folder(place, inside=True)
    os.rename(ready, os.path.join(done, READY))  # what is being removed is not ready any more
    remove(done)


def _files(folder: str) -> List[str]:
    """A folder's files, relative to it, without the temporary ones."""
    found: List[str] = []
    for at, folders, names in os.walk(folder):
        if at == folder:
            folders[:] = [name for name in folders if not is_temporary(name)]
            names = [name for name in names if not is_temporary(name) and name != INSIDE]
        found += [os.path.relpath(os.path.join(at, name), folder) for name in names]
    return sorted(found)
