"""What all commands share: how errors are reported, how tables look."""

import io
import sys
from typing import Any, Callable, List, Optional, Sequence

from tlee.errors import TleeError

OK, INPUT_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def report(program: str, error: object) -> None:
    """One line on standard error."""
    sys.stderr.write("{}: {}\n".format(program, error))


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
        extra = "workstation" if program in ("tlee-convert", "tlee-eval", "tlee-export", "tlee-train") else "cpu"
        report(program, "{}: not installed; pip install 'tlee[{}]'".format(error.name, extra))
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
    sys.exit(run(program, command))


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
