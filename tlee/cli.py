"""What all commands share: how errors are reported, how tables look."""

import contextlib
import errno
import io
import os
import signal
import sys
from typing import Any, Callable, List, Optional, Sequence

from tlee.errors import TleeError, printable

OK, INPUT_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
# Commands that need the extra of that name.
WORKSTATION = tuple("tlee-" + name for name in ("calibrate", "convert", "eval", "export", "train", "tune"))
REMEDIES = {
    errno.EMFILE: "let this process open more files (ulimit -n)",
    errno.ENFILE: "close other programs: the system's table of open files is full",
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.ENOMEM: "close other programs, or add swap",
    errno.EAGAIN: "let this user start more processes (ulimit -u)",
}


def report(program: str, error: object) -> None:
    """One line on standard error."""
    sys.stderr.write("{}: {}\n".format(program, printable(error)))


def show(*lines: str) -> None:
    """Lines on standard output: names in them may be of any origin."""
    print("\n".join(printable(line) for line in lines), flush=True)


class StatusLine:
    """How far long work is: one line on standard error that is written over. Nothing where that is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()

    def clear(self) -> None:
        self.show("")


def run(
    program: str, command: Callable[[Optional[List[str]]], Optional[int]], arguments: Optional[List[str]] = None
) -> int:
    """Run a command and turn what it raises into a line and an exit status.

    Returns:
        The command's own status (None is 0); 2 for a `TleeError`, a missing library, or a system that gives no memory,
        files or processes; 130 when interrupted.
    """
    try:
        return command(arguments) or OK
    except TleeError as error:
        report(program, error)
        return WRONG_USE
    except KeyboardInterrupt:
        report(program, "interrupted")
        return INTERRUPTED
    except Exception as error:
        if _interrupted:  # libraries that are being imported make other errors of it
            report(program, "interrupted")
            return INTERRUPTED
        line = _of_system(program, error)
        if line is None:
            raise
        report(program, line)
        return WRONG_USE


def _of_system(program: str, error: Exception) -> Optional[str]:
    """What to say where neither this code nor its input is at fault."""
    if isinstance(error, ModuleNotFoundError):  # an extra that was not installed
        extra = "workstation" if program in WORKSTATION else "cpu"
        return "{}: not installed; pip install '.[{}]' in tlee's folder".format(error.name, extra)
    if isinstance(error, MemoryError):
        return "memory: there is not enough; close other programs, add swap, or give this one smaller work"
    if isinstance(error, OSError):
        remedy = REMEDIES.get(error.errno or 0, "check the path and the system's limits")
        return "{}: {}; {}".format(error.filename or "system", error.strerror or error, remedy)
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return "system: no new thread; {}".format(REMEDIES[errno.EAGAIN])
    return None


_interrupted: List[int] = []  # signals that this process was to end by


def _interrupt(number: int, frame: object) -> None:
    _interrupted.append(number)
    raise KeyboardInterrupt


class _Output(io.TextIOWrapper):
    """Standard output or error: one that fails is told at the end, and stops nothing else that a command does.

    Attributes:
        error: what went wrong first.
    """

    error: Optional[OSError] = None

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                return super().write(text)
            except OSError as error:
                self.error = error
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                super().flush()
            except OSError as error:
                self.error = error


def output_failed() -> bool:
    """Whether nobody gets what is written to standard output any more: a command that writes nothing else may stop."""
    return isinstance(sys.stdout, _Output) and sys.stdout.error is not None


def main(program: str, command: Callable[[Optional[List[str]]], Optional[int]]) -> None:
    """Run a command as a process: as `run`, with file names of any kind printable, output that fails a line of its own,
    and a request to end (SIGTERM, a terminal that goes away) taken as Ctrl-C."""
    _own_streams()
    _own_signals()
    if program in WORKSTATION:
        # PyTorch's threads spin while they wait, and take the cores from decoding and from other programs.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    try:
        status = run(program, command)
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else WRONG_USE
    sys.exit(_said_all(program) or status)


def _own_streams() -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed: the next file that is opened would get its number
            nowhere = os.open(os.devnull, os.O_RDWR if name == "stderr" else os.O_RDONLY)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
    for name in ("stdout", "stderr"):
        # A name may hold what the terminal's encoding cannot (ASCII in many containers): shown escaped.
        stream = getattr(sys, name)
        encoding, lines = stream.encoding, stream.isatty() or name == "stderr"
        setattr(sys, name, _Output(stream.detach(), encoding, "backslashreplace", line_buffering=lines))


def _own_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does
            signal.signal(number, _interrupt)


def _said_all(program: str) -> int:
    """INPUT_FAILED, and a line, where standard output could not be written; not where its reader has seen enough."""
    output = sys.stdout
    output.flush()
    error = output.error if isinstance(output, _Output) else None
    if error is None:
        return OK
    with contextlib.suppress(OSError):  # for what is left in its buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno == errno.EPIPE:  # as `head` does
        return OK
    report(program, "standard output: cannot be written ({}); give it room, or another place".format(error.strerror))
    return INPUT_FAILED


def positive(text: str) -> int:
    """A whole number from 1, as a type of argparse's."""
    return _at_least(1, text)


def natural(text: str) -> int:
    """A whole number from 0, as a type of argparse's."""
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    value = int(text)
    if value < least:
        raise ValueError
    return value


def table(rows: Sequence[Sequence[Any]], align: str = "") -> List[str]:
    """Lines of a plain table; the first row is the head.

    Args:
        align: one letter per column, `l` or `r`; columns without one are `l`.

    Example:
        >>> table([["name", "MACs"], ["tail", 12]], "lr")
        ['name  MACs', 'tail    12']
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = [align[i : i + 1] == "r" for i in range(len(widths))]
    padded = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)] for row in cells]
    return ["  ".join(row).rstrip() for row in padded]
