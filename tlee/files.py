"""Files that appear whole or not at all, written under a temporary name, then renamed; and logs."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from typing import IO, Any, Dict, Iterator, Tuple

from tlee.errors import TleeError, UsageError, writing
from tlee.locks import BUSY, WAIT, is_stream, remove, temporary_file, write_lock
from tlee.reading import MB

# What renaming raises for a mount point, where the parent folder may not be written, and where each user renames only
# own things, as in /tmp.
FIXED = (errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
_lines: Dict[str, Tuple[str, str]] = {}  # place and path of temporary files whose complete lines are results


@contextlib.contextmanager
def atomic_write(path: str, mode: str = "w", lines: bool = False) -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears when the block ends, or not at all if the block fails or is interrupted.

    A link is followed, and the file keeps its mode and owner. A device or pipe is written to directly. With `lines`, an
    interruption keeps those that are complete: each is a result.

    Raises:
        UsageError: the folder does not exist, cannot be written, or is full, or another process writes this file.
    """
    path = os.fspath(path)
    if is_stream(path):
        with _opened(path, mode, path) as stream:
            yield stream
        return
    with write_lock(path) as place:
        with writing(path):
            temporary = temporary_file(place)
        if lines:
            _lines[temporary] = place, path
        try:
            with _opened(temporary, mode, path) as stream:
                yield stream
        except KeyboardInterrupt:
            if lines:
                _end_lines(temporary, path)
                _rename(temporary, place, path)
            raise
        else:
            _rename(temporary, place, path)
        finally:
            _lines.pop(temporary, None)
            remove(temporary)


def keep_lines() -> None:
    """As an interrupt of every `atomic_write` of lines: for a process that ends while its main thread is stuck."""
    for temporary, (place, path) in list(_lines.items()):
        with contextlib.suppress(OSError, TleeError):
            _end_lines(temporary, path)
            _rename(temporary, place, path)


@contextlib.contextmanager
def append_lines(path: str) -> Iterator[IO[Any]]:
    """Open `path` to append lines that are results as soon as they are flushed: of a camera, which never ends. Raises
    UsageError as `atomic_write`."""
    path = os.fspath(path)
    with _opened(path, "a", path) as stream:
        if not is_stream(path):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(path, BUSY, WAIT) from None
            except OSError:  # no locks on this file system
                pass
            _end_lines(path, path)
        yield stream


def write_json(path: str, value: object) -> None:
    """Write `value` as indented JSON with a stable key order."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with atomic_write(path) as stream:
        stream.write(text + "\n")


def sha256(content: bytes) -> str:
    """As 64 lower-case hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: str) -> str:
    """As `sha256` of a file's content, which need not fit into memory."""
    with open(path, "rb") as stream:
        return sha256_of_stream(stream)


def sha256_of_stream(stream: IO[bytes]) -> str:
    """As `sha256` of the rest of a stream, which need not fit into memory."""
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(MB), b""):
        digest.update(block)
    return digest.hexdigest()


def default_mode(mode: int) -> int:
    """What this process's umask leaves of a mode."""
    umask = os.umask(0o022)  # it can only be read by setting it
    os.umask(umask)
    return mode & ~umask


@contextlib.contextmanager
def _opened(file: str, mode: str, path: str) -> Iterator[Any]:
    """A file whose errors are those of writing `path`; not those of the block, which are its own."""
    # Names that are no UTF-8 are written with the bytes that are none escaped, as JSON takes them.
    encoding, errors = (None, None) if "b" in mode else ("utf-8", "backslashreplace")
    with writing(path):
        stream = _Stream(open(file, mode, encoding=encoding, errors=errors), path)  # noqa: SIM115
    with contextlib.closing(stream):
        yield stream


class _Stream:
    """An open file that raises its own errors as UsageError."""

    def __init__(self, stream: IO[Any], path: str) -> None:
        self._stream, self._path = stream, path

    def write(self, content: Any) -> Any:
        with writing(self._path):
            return self._stream.write(content)

    def flush(self) -> None:
        with writing(self._path):
            self._stream.flush()

    def close(self) -> None:
        try:
            with writing(self._path):
                self._stream.close()
        finally:
            with contextlib.suppress(OSError):
                self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _rename(temporary: str, place: str, path: str) -> None:
    with writing(path):
        if os.path.exists(place):
            old = os.stat(place)
            os.chmod(temporary, old.st_mode & 0o7777)
            with contextlib.suppress(OSError):  # only root may give files away
                os.chown(temporary, old.st_uid, old.st_gid)
        else:
            os.chmod(temporary, default_mode(0o666))
        try:
            os.replace(temporary, place)
        except OSError as error:
            if error.errno not in FIXED:
                raise
            _fill(place, temporary)


def _fill(place: str, source: str) -> None:
    """Give a file that stays the content of another; an interrupt waits for that."""
    try:
        shutil.copyfile(source, place)
    except KeyboardInterrupt:
        shutil.copyfile(source, place)
        raise


def _end_lines(file: str, path: str) -> None:
    """Take off the beginning of a result that a killed or interrupted writer left at the end of JSON Lines."""
    with writing(path), open(file, "r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - MB))
        line = stream.read().rpartition(b"\n")[2]
        if not line:
            return
        try:
            json.loads(line.decode("utf-8"))
        except ValueError:
            if line.startswith(b"{"):
                stream.truncate(size - len(line))
                return
        stream.seek(0, os.SEEK_END)
        stream.write(b"\n")
