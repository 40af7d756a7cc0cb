"""Files and folders that appear whole or not at all, written under a temporary name, then renamed; and logs."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from typing import IO, Any, Iterator, Tuple

from tlee.errors import UsageError

CANNOT_WRITE = "cannot be written ({})"
CHOOSE_FOLDER = "choose a folder that you may write to and that has room"


@contextlib.contextmanager
def whole_file(path: str, mode: str = "w") -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears when the block ends, or not at all if the block fails.

    An interruption (Ctrl-C) keeps what was written so far: lines already reported are results.

    Raises:
        UsageError: the folder does not exist, cannot be written, or is full.
    """
    encoding = None if "b" in mode else "utf-8"
    handle, temporary = _beside(path)
    try:
        with open(handle, mode, encoding=encoding) as stream:
            try:
                yield stream
            finally:
                stream.flush()
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except KeyboardInterrupt:
        os.replace(temporary, path)
        raise
    except OSError as error:
        os.unlink(temporary)
        if error.filename not in (None, temporary, path):  # the block's own affair, not this file's
            raise
        raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def growing_file(path: str) -> Iterator[IO[Any]]:
    """Open `path` to append lines that are results as soon as they are flushed: of a camera, which never ends.

    Raises:
        UsageError: the folder does not exist, cannot be written, or is full.
    """
    try:
        with open(path, "a", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        if error.filename not in (None, path):  # the block's own affair, not this file's
            raise
        raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None


def check_place(path: str) -> None:
    """Before long work, the result of which shall be written to `path`. Raises UsageError as `whole_file` does."""
    handle, temporary = _beside(path)
    os.close(handle)
    os.unlink(temporary)


def _beside(path: str) -> Tuple[int, str]:
    """A new file in the folder of `path`."""
    folder, name = os.path.split(os.path.abspath(path))
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory")
        return tempfile.mkstemp(prefix=".{}.".format(name), dir=folder)
    except OSError as error:
        raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None


@contextlib.contextmanager
def whole_folder(path: str, replace: bool = False) -> Iterator[str]:
    """A new folder beside `path` that takes its name when the block ends, or vanishes if it fails.

    Args:
        path: where the folder shall stand.
        replace: whether a folder that stands there already gives way.

    Raises:
        UsageError: the parent folder cannot be written, or `path` exists and `replace` is false.
    """
    path = os.path.abspath(path)
    if os.path.lexists(path) and not replace:
        raise UsageError(path, "exists already", "choose another name, or add --replace")
    try:
        temporary = tempfile.mkdtemp(prefix=".{}.".format(os.path.basename(path)), dir=os.path.dirname(path))
    except OSError as error:
        raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        old = None
        if os.path.lexists(path):
            old = tempfile.mkdtemp(prefix=".old.", dir=os.path.dirname(path))
            os.replace(path, os.path.join(old, "replaced"))
        os.replace(temporary, path)
        if old:
            shutil.rmtree(old)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def write_json(path: str, value: object) -> None:
    """Write `value` as indented JSON with a stable key order."""
    with whole_file(path) as stream:
        json.dump(value, stream, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        stream.write("\n")


def sha256(content: bytes) -> str:
    """SHA-256 of `content` as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: str) -> str:
    """As `sha256` of a file's content, which need not fit into memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    # The umask can only be read by setting it.
    current = os.umask(0o022)
    os.umask(current)
    return current
