"""What a run says while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from tlee.errors import printable

QUIET = 30  # seconds after which a long epoch says where it is, where there is no terminal for a bar


def say(line: str) -> None:
    """A line on standard output, at once: a file that it goes to can be followed."""
    tqdm.write(printable(line))
    sys.stdout.flush()


class EpochProgress:
    """How far an epoch is: a bar on a terminal, elsewhere a line now and then.

    Args:
        name: of the epoch.
        steps: of the epoch.
        done: steps that are done already.
        shown: whether this process prints.
        clock: seconds.
    """

    def __init__(
        self, name: str, steps: int, done: int, shown: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name, self._steps, self._done, self._clock = name, steps, done, clock
        self._lines = shown and not sys.stderr.isatty()
        self._said = clock()
        self._bar = tqdm(total=steps, initial=done, desc=name, leave=False, disable=None if shown else True)

    def __enter__(self) -> EpochProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self) -> None:
        """One more step is done."""
        self._done += 1
        self._bar.update()

    def loss(self, mean: float) -> None:
        """Show the epoch's mean loss so far."""
        self._bar.set_postfix(loss=f"{mean:.4f}")
        if self._lines and self._done < self._steps and self._clock() - self._said >= QUIET:
            self._said = self._clock()
            say(f"{self._name}: {self._done} of {self._steps} steps, loss {mean:.4f}")
