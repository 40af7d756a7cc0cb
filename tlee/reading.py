"""Files of any origin, read once: plain files only, no larger than their kind may be, and nothing but text, numbers or
bytes. Whatever a parser raises becomes one of our errors.
"""

import json
import math
import os
import re
import stat
from typing import Any, BinaryIO, Callable, Dict, List, Optional, Tuple, Type

from tlee.errors import MORE_MEMORY, REMEDIES, TleeError, UsageError, remedy_of, system_errors

MB = 1 << 20
JSON_LIMIT = 64 * MB  # of our own JSON: reports with every raw sample have some 5
CHECK_PATH = "check the path"
_ODD_NUMBER = re.compile(r"[0-9]{19}|[eE]\+?[0-9]{3}")  # those that may exceed 64 bits
_LARGEST = 2**63


def read_bytes(
    path: str,
    limit: int,
    error: Type[TleeError] = UsageError,
    remedy: str = CHECK_PATH,
    folder: Optional[int] = None,
    follow: bool = True,
    subject: Optional[str] = None,
) -> bytes:
    """The content of a file.

    Args:
        limit: bytes, at most.
        error: the class of what is raised.
        remedy: what the user should do where it cannot be read.
        folder: a descriptor of the folder that `path` is relative to.
        follow: whether the file may be a link.
        subject: what errors name; None for the path.

    Raises:
        `error`: there is no such file, or it is no plain one, too large, or cannot be read.
    """
    subject = subject or path
    with open_plain(path, error, remedy, folder, follow, subject) as stream:
        size = os.fstat(stream.fileno()).st_size
        check_size(subject, size, limit, error, remedy)
        with system_errors(error, subject, remedy):
            content = stream.read(min(limit, max(size, 4096)) + 1)
    check_size(subject, len(content), limit, error, remedy)  # it may have grown
    return content


def open_plain(
    path: str,
    error: Type[TleeError] = UsageError,
    remedy: str = CHECK_PATH,
    folder: Optional[int] = None,
    follow: bool = True,
    subject: Optional[str] = None,
) -> BinaryIO:
    """Open a file that is too large to be read at once. Arguments and errors as of `read_bytes`."""
    subject = subject or path
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that nobody writes to would be waited for
    try:
        with system_errors(error, subject, remedy):
            descriptor = os.open(path, flags | (0 if follow else os.O_NOFOLLOW), dir_fd=folder)
    except ValueError:  # a zero byte, or half of a surrogate pair
        raise error(subject, "not a name that a file can have", remedy) from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise error(subject, "a folder, not a file", remedy)
    raise error(subject, "not a plain file", "write its content to one and give that")


def is_name(path: str) -> bool:
    """Whether a file or folder can have this name at all: no zero byte, no half of a surrogate pair."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def check_size(
    subject: str, size: int, limit: int, error: Type[TleeError] = UsageError, remedy: str = CHECK_PATH
) -> None:
    """Refuse a file of more bytes than its kind may have. Raises `error`."""
    if size > limit:
        raise error(subject, f"{size:,} bytes, more than the {limit:,} of any such file", remedy)


def read_text(path: str, limit: int, error: Type[TleeError] = UsageError, remedy: str = CHECK_PATH) -> str:
    """The content of a file in UTF-8, without a byte order mark. Raises as `read_bytes`, and where it is no text."""
    content = read_bytes(path, limit, error, remedy)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(path, f"not text in UTF-8 (byte {problem.start})", "save it in UTF-8") from None


def read_json(path: str, limit: int = JSON_LIMIT, remedy: str = CHECK_PATH) -> Any:
    """The value in a file of JSON. Raises UsageError as `read_bytes` does, and where `parse_json` raises."""
    content = read_bytes(path, limit, remedy=remedy)
    try:
        return parse_json(content)
    except ValueError as problem:
        raise UsageError(path, f"not readable as JSON ({problem})", remedy) from None


def parse_json(content: bytes) -> Any:
    """The value of JSON in UTF-8. Raises ValueError also for numbers that are not finite or exceed 64 bits, for strings
    that are no text, and for an object with a key twice."""
    text = content.decode("utf-8")
    exact: Dict[str, Any] = {"parse_int": _integer, "parse_float": _finite} if _ODD_NUMBER.search(text) else {}
    try:
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_object, **exact)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")  # which names of files need
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair in a string") from None
    return value


def parsed(path: object, parse: Callable[[], Any], what: str, remedy: str, error: Type[TleeError] = UsageError) -> Any:
    """The result of a library's parser for a file whose size is checked; whatever it raises means that the file is bad,
    and becomes `error` with the first line of it. `what` the file should have been, as "a checkpoint"."""
    try:
        return parse()
    except TleeError:
        raise
    except MemoryError:  # there is little, or the file wants too much
        raise error(path, "not enough memory to read it", f"{MORE_MEMORY}; or {remedy}") from None
    except Exception as problem:  # parsers of damaged files raise nearly everything
        if isinstance(problem, OSError) and problem.errno in REMEDIES:
            raise error(path, problem.strerror, remedy_of(problem, remedy)) from None
        said = (str(problem).strip().splitlines() or [""])[0][:120] or type(problem).__name__
        raise error(path, f"not {what} that can be read ({said})", remedy) from None


def _object(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        left = list(value)  # in the order of their first places
        twice = next(key for i, (key, _) in enumerate(pairs) if i >= len(left) or key != left[i])
        raise ValueError(f"{twice[:80]!r} twice")
    return value


def _integer(text: str) -> int:
    value = int(text) if len(text) < 21 else _LARGEST
    if not -_LARGEST <= value < _LARGEST:
        raise ValueError("a number beyond 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number that is not finite")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")
