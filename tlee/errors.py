"""Errors that are not bugs in this code. Each is one line that the user can act on."""

import contextlib
import errno
import os
import re
from typing import ContextManager, Iterator, Optional, Tuple, Type

# Control characters, line separators, marks that turn the direction of writing, and half surrogate pairs.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

LONGEST = 1000  # characters of what is wrong: libraries quote whole files
CANNOT_WRITE = "cannot be written ({})"
CHOOSE_FOLDER = "choose a folder that you may write to and that has room"
# What libraries say when memory runs out.
NO_MEMORY = ("allocate memory", "bad_alloc", "failed to map segment", "insufficient memory", "unable to allocate")
MORE_MEMORY = "close other programs, or add swap"
# For faults of the system, not of a file or user.
REMEDIES = {
    errno.EMFILE: "let this process open more files (ulimit -n)",
    errno.ENFILE: "close other programs: the system's table of open files is full",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "allow larger files (ulimit -f), or choose another file system",
    errno.ENOMEM: MORE_MEMORY,
    errno.EAGAIN: "let this user start more processes (ulimit -u), or close other programs",
}


def printable(text: object) -> str:
    r"""Text of any origin as one line that is safe to print: control characters are escaped.

    Examples:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), str(text))


class TleeError(Exception):
    """`SUBJECT: what is wrong; what to do`, on one line."""

    def __init__(self, subject: object, problem: object, remedy: str) -> None:
        self.subject, self.problem, self.remedy = str(subject), str(problem), remedy
        text = self.problem if len(self.problem) <= LONGEST else self.problem[:LONGEST] + " ..."
        super().__init__(printable(" ".join(f"{printable(subject)}: {text}; {remedy}".split())))


class UsageError(TleeError):
    """A command or function was asked for something impossible."""


def remedy_of(error: OSError, otherwise: str) -> str:
    """What to do about an error of the operating system; `otherwise` where it is not a lack of some resource."""
    return REMEDIES.get(error.errno or 0, otherwise)


@contextlib.contextmanager
def system_errors(error: Type[TleeError], subject: object, otherwise: str, problem: str = "{}") -> Iterator[None]:
    """Turn an OSError into `error`; the system's reason stands in `problem`. `otherwise` as of `remedy_of`."""
    try:
        yield
    except OSError as fault:
        raise error(subject, problem.format(fault.strerror or fault), remedy_of(fault, otherwise)) from None


def writing(path: object, otherwise: str = CHOOSE_FOLDER) -> ContextManager[None]:
    """Turn an OSError into a UsageError: `path` cannot be written."""
    return system_errors(UsageError, path, otherwise, CANNOT_WRITE)


def lacks_memory(text: str) -> bool:
    """Whether a library's message means that memory ran out."""
    return any(words in text.lower() for words in NO_MEMORY)


def system_fault(text: str) -> Optional[Tuple[str, str]]:
    """Problem and remedy, where a library's message means that the system lacks some resource; else None."""
    if lacks_memory(text):
        return "not enough memory", MORE_MEMORY
    for code, remedy in REMEDIES.items():
        if os.strerror(code) in text:
            return os.strerror(code), remedy
    return None


def not_imported(library: str, module: str, error: ImportError, remedy: str) -> UsageError:
    """The error for an `import module` that fails: the module, or something that it needs, is missing."""
    if isinstance(error, ModuleNotFoundError) and error.name == module:
        return UsageError(library, "not installed", remedy)
    said = (str(error.__cause__ or error).strip().splitlines() or [""])[0][:200]
    if lacks_memory(said):
        return UsageError(library, "not enough memory to import it", MORE_MEMORY)
    return UsageError(library, f"cannot be imported ({said})", "see what tlee-doctor reports")


class InputError(TleeError):
    """One video, folder or image cannot be recognised; the other inputs can."""


class SegmentError(TleeError):
    """A segment's output is not a number, or should be a probability and is none."""


class BundleError(TleeError):
    """A bundle cannot be read, or is not what its manifest says."""


class CheckpointError(TleeError):
    """A checkpoint cannot be read, or does not fit the model."""


class EngineError(TleeError):
    """An engine cannot be built or run, or is not what was recorded of it."""


class VerificationError(TleeError):
    """An exported bundle does not answer as the model it was made from."""
