"""What all commands share: how errors are reported, how tables look."""

import io
import os
import sys
from typing import Any, Callable, List, Optional, Sequence

from tlee.errors import TleeError

OK, INPUT_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
# Commands that need the extra of that name.
WORKSTATION = tuple("tlee-" + name for name in ("calibrate", "convert", "eval", "export", "train", "tune"))


def report(program: str, error: object) -> None:
    """One line on standard error."""
    sys.stderr.write("{}: {}\n".format(program, error))


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
        The command's own status (None is 0); 2 for a `TleeError` or a missing library; 130 when interrupted.
    """
    try:
        return command(arguments) or OK
    except TleeError as error:
        report(program, error)
        return WRONG_USE
    except ModuleNotFoundError as error:  # an extra that was not installed
        extra = "workstation" if program in WORKSTATION else "cpu"
        report(program, "{}: not installed; pip install '.[{}]' in tlee's folder".format(error.name, extra))
        return WRONG_USE
    except KeyboardInterrupt:
        report(program, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough, as `head` does
        sys.stderr.close()
        return OK


def main(program: str, command: Callable[[Optional[List[str]]], Optional[int]]) -> None:
    """Run a command as a process: as `run`, with file names of any kind printable."""
    for name in ("stdout", "stderr"):
        # A name may hold what the terminal's encoding cannot (ASCII in many containers): shown escaped.
        stream = getattr(sys, name)
        encoding, lines = stream.encoding, stream.isatty() or name == "stderr"
        setattr(sys, name, io.TextIOWrapper(stream.detach(), encoding, "backslashreplace", line_buffering=lines))
    if program in WORKSTATION:
        # PyTorch's threads spin while they wait, and take the cores from decoding and from other programs.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
    sys.exit(run(program, command))


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
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    right = [align[i : i + 1] == "r" for i in range(len(widths))]
    padded = [[c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right)] for row in cells]
    return ["  ".join(row).rstrip() for row in padded]
