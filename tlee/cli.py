"""What all commands share: reporting of errors, output, tables."""

import contextlib
import errno
import json
import os
import re
import sys
import unicodedata
import warnings
from typing import Any, Callable, List, Optional, Sequence

from tlee import errors, process
from tlee.errors import UNSAFE, TleeError, UsageError, printable
from tlee.process import INTERRUPTED, output_failed, report

__all__ = ["output_failed", "report"]

OK, INPUT_FAILED, WRONG_USE = 0, 1, 2
# Commands that need the extra of that name.
WORKSTATION = tuple("tlee-" + name for name in ("calibrate", "convert", "eval", "export", "report", "train", "tune"))
MEMORY = "memory: there is not enough; close other programs, add swap, or give this one smaller work"
NO_FOLDER = "this folder: not there any more; change into one that is (cd)"
LOADER = (
    "videos: a process that decodes them ended ({}), most likely because memory ran out; take fewer such processes "
    "(--workers; in a training --set data.workers=N)"
)


def print_json(value: object) -> None:
    """Print indented JSON, with all letters but control characters as they are."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    print("\n".join(UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", line) for line in text.split("\n")))


def show(*lines: str) -> None:
    """Print lines that may hold names of any origin."""
    print("\n".join(printable(line) for line in lines), flush=True)


class StatusLine:
    """Progress of a long job: one line on standard error that is overwritten. Nothing where that is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K" + printable(text))
            sys.stderr.flush()

    def clear(self) -> None:
        self.show("")


def run(
    program: str, command: Callable[[Optional[List[str]]], Optional[int]], arguments: Optional[List[str]] = None
) -> int:
    """Run a command and turn what it raises into a line and an exit status: its own (None is 0), 2 for a `TleeError`, a
    missing library, or a system that gives no memory, files or processes, 130 when interrupted."""
    try:
        return command(arguments) or OK
    except (KeyboardInterrupt, Exception) as error:
        # Libraries replace it by errors of their own, or see first that their own processes were told to end.
        ended = process.interrupted or "killed by signal: Terminated" in str(error)
        if ended or isinstance(error, KeyboardInterrupt):
            report(program, "interrupted")
            return INTERRUPTED
        line = error if isinstance(error, TleeError) else _of_system(program, error)
        if line is None:
            raise
        report(program, line)
        return WRONG_USE


def _of_system(program: str, error: BaseException) -> Optional[str]:
    """The line for a fault of the system, neither of this code nor of its input."""
    if isinstance(error, ModuleNotFoundError):  # an extra that was not installed
        extra = "workstation" if program in WORKSTATION else "cpu"
        return f"{error.name}: not installed; pip install '.[{extra}]' in tlee's folder"
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, FileNotFoundError) and error.filename is None:  # asked where this process is
        return NO_FOLDER
    if isinstance(error, OSError) and error.errno:
        remedy = errors.remedy_of(error, "check the path and the system's limits")
        return f"{error.filename or 'system'}: {error.strerror or error}; {remedy}"
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return f"system: no new thread; {errors.REMEDIES[errno.EAGAIN]}"
    line = _in_words(f"{error.__cause__ or ''}\n{error}")
    if line is None and isinstance(error, OSError):
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        return f"system: {said}; check the path and the system's limits"
    if line is None and isinstance(error, ImportError):
        return str(errors.not_imported(error.name or "library", "", error, ""))
    return line


def _in_words(text: str) -> Optional[str]:
    """The same for errors that libraries report only in words."""
    if "in DataLoader worker process" in text:  # with the traceback of an error of ours or of a library
        text = text.strip().splitlines()[-1]
        if text.startswith("tlee.errors."):
            return text.partition(": ")[2]
    if "DataLoader worker" in text and ("killed by signal" in text or "exited unexpectedly" in text):
        found = re.search(r"killed by signal: ([^.]*)", text)
        return LOADER.format(found.group(1) if found else "by itself")
    if errors.lacks_memory(text):
        return MEMORY
    fault = errors.system_fault(text)
    return f"system: {fault[0]}; {fault[1]}" if fault else None


def main(
    program: str, command: Callable[[Optional[List[str]]], Optional[int]], patience: Optional[float] = None
) -> None:
    """Run a command as a process: as `run`, with file names of any kind printable, output that fails a line of its own,
    and a request to end (SIGTERM, a terminal that goes away) taken as Ctrl-C. With `patience`, as of
    `tlee.process.watch`, it does not wait for a call into a library however long that takes.
    """
    process.own_streams()
    process.own_signals(program)
    if patience is not None:
        process.watch(program, patience)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries
    if program in WORKSTATION:
        # PyTorch's threads spin while they wait, and take the cores from decoding and from other programs.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

    def checked(arguments: Optional[List[str]]) -> Optional[int]:
        if program in WORKSTATION:  # before PyTorch ends the process for it, or complains of it for every layer
            os.getcwd()
            if sys.platform.startswith("linux") and not os.path.exists("/proc/cpuinfo"):
                problem = "not there, where PyTorch and ONNX Runtime read what processor this is"
                raise UsageError("/proc", problem, "mount it (mount -t proc proc /proc)")
        return command(arguments)

    try:
        status = run(program, checked)
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else WRONG_USE
    process.end(_check_output(program) or status)


def _check_output(program: str) -> int:
    """INPUT_FAILED, and a line, if standard output could not be written; OK if its reader closed it, as `head` does."""
    output = sys.stdout
    output.flush()
    error = output.error if isinstance(output, process.Output) else None
    if error is None:
        return OK
    with contextlib.suppress(OSError):  # for what is left in its buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:
        return OK
    report(program, f"standard output: cannot be written ({error.strerror}); give it room, or another place")
    return INPUT_FAILED


def natural(text: str) -> int:
    """A whole number from 0, as a type of argparse's."""
    if int(text) < 0:
        raise ValueError
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1, as a type of argparse's."""
    if natural(text) == 0:
        raise ValueError
    return int(text)


def table(rows: Sequence[Sequence[Any]], align: str = "") -> List[str]:
    """Lines of a plain table; the first row is the head.

    Args:
        align: one letter per column, `l` or `r`; columns without one are `l`.

    Examples:
        >>> table([["name", "MACs"], ["tail", 12]], "lr")
        ['name  MACs', 'tail    12']
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(columns(row[i]) for row in cells) for i in range(len(cells[0]))]
    return ["  ".join(map(padded, row, widths, align.ljust(len(widths)))).rstrip() for row in cells]


def number(value: float) -> str:
    """With as many digits as a measurement is worth.

    Examples:
        >>> number(0.5), number(12.34), number(1234.5)
        ('0.500', '12.3', '1234')
    """
    return f"{value:.0f}" if value >= 1000 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def padded(text: str, width: int, align: str = "l") -> str:
    """Text padded to a width in columns of a terminal; `align` as in `table`."""
    blanks = " " * (width - columns(text))
    return blanks + text if align == "r" else text + blanks


def columns(text: str) -> int:
    """How many columns of a terminal a text takes.

    Examples:
        >>> columns("clip"), columns("動画")
        (4, 4)
    """
    if len(text) == len(text.encode("utf-8", "replace")):  # ASCII
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.combining(letter) > 0 for letter in text)
