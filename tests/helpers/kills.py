"""Commands that are killed at random moments: how they end, what they leave, and that the next one works.

`TLEE_KILLS=60` asks for so many moments of each signal; without it a few are tried.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

COUNT = int(os.environ.get("TLEE_KILLS", "3"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 10  # seconds until a command that was told to end must have ended
LONGEST = 600  # seconds of a run that nobody disturbs
START = "import sys; sys.argv[0] = '{}'; from tlee.commands import main; main()"


class Ended(NamedTuple):
    """How a command ended: its exit status, minus the signal's number where one ended it, and standard error."""

    status: int
    err: str


def command(program: str, *arguments: object) -> list[str]:
    """A command of ours, as its script starts it."""
    return [sys.executable, "-c", START.format(program), *map(str, arguments)]


def run(command: Sequence[str], **environment: str) -> Ended:
    """A command from beginning to end."""
    return _until(command, lambda process: process.wait(LONGEST), environment)


def killed(command: Sequence[str], number: signal.Signals, after: float, group: bool = False) -> Ended:
    """A command that gets a signal.

    Args:
        after: seconds since it took signals into its own hands: what comes before is Python's start.
        group: whether the processes that it has started get the signal, too, as a terminal does with Ctrl-C.
    """

    def kill(process: subprocess.Popen) -> None:
        while process.poll() is None and not _catches(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(process.pid, number)
        process.wait(PATIENCE)

    return _until(command, kill, {})


def sweep(
    command: Sequence[str],
    seed: int,
    sound: Callable[[], object],
    places: Sequence[Path],
    begin: Callable[[], object] = lambda: None,
    every: int = 5,
) -> None:
    """Kill a command at random moments of its life.

    Args:
        seed: of the moments.
        sound: fails where something that the command writes is damaged; called after each kill.
        places: folders that the command writes in: after a run that nobody disturbs nothing hidden is there.
        begin: what to do before each run, so that there is something to do.
        every: an undisturbed run follows after so many kills.
    """
    chance = random.Random(seed)
    begin()
    begun = time.monotonic()
    works(command, places)
    seconds = time.monotonic() - begun
    moments = [(number, chance.uniform(0, seconds)) for number in SIGNALS for _ in range(COUNT)]
    chance.shuffle(moments)
    for i, (number, after) in enumerate(moments, 1):
        begin()
        group = number == signal.SIGINT or (number == signal.SIGTERM and chance.random() < 0.5)
        told = f"{number.name} after {after:.3f} s of {seconds:.1f}{', the whole group' if group else ''}"
        check(killed(command, number, after, group), number, told)
        sound()
        if i % every == 0 or i == len(moments):
            begin()
            works(command, places)
            sound()


def check(ended: Ended, number: signal.Signals, told: str = "") -> None:
    """See that a command ended as it should on a signal: killed, or in one line; or was done already."""
    if ended.status == 0:
        return
    wanted = -signal.SIGKILL if number == signal.SIGKILL else 130
    assert ended.status == wanted, (told, ended)
    assert "Traceback" not in ended.err and "terminate called" not in ended.err, (told, ended)
    said = [line for line in ended.err.splitlines() if ": interrupted" in line]
    assert len(said) == (number != signal.SIGKILL), (told, ended)


def works(command: Sequence[str], places: Sequence[Path]) -> None:
    """See that a command runs to its end and leaves nothing temporary."""
    ended = run(command)
    assert ended.status == 0, ended
    left = [path for place in places for path in place.glob(".*")]
    assert not left, (left, ended)


@contextlib.contextmanager
def locked_elsewhere(place: Path) -> Iterator[None]:
    """While another process writes a folder."""
    code = "import sys, tlee.locks as l\nwith l.write_lock(sys.argv[1], folder=True): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline()
        yield
        process.communicate(b"\n")


def _until(command: Sequence[str], ending: Callable[[subprocess.Popen], object], environment: dict[str, str]) -> Ended:
    # A file, since processes that outlive the command would keep a pipe open.
    with tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        try:
            ending(process)
        finally:
            process.kill()
            process.wait()
        err.seek(0)
        return Ended(process.returncode, err.read().decode(errors="replace"))


def _catches(process: int, number: signal.Signals) -> bool:
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
