"""How far a build is, on a terminal: one line on standard error that is written over."""

import contextlib
import time
from typing import Callable, Iterator, List

from tlee import cli
from tlee.engines.jobs import Job


class Progress:
    """Which engine is being built, since when, and how long all will take.

    Time left is what the engines before took per node of their ONNX; TensorRT itself times each layer.
    """

    def __init__(self, jobs: List[Job]) -> None:
        self._left = [job.nodes for job in jobs]
        self._count, self._spent, self._nodes = len(jobs), 0.0, 0
        self._status = cli.StatusLine()

    @contextlib.contextmanager
    def on(self, job: Job) -> Iterator[Callable[[], None]]:
        """Around a build; what it gives is to be called now and then."""
        start = time.time()
        number = self._count - len(self._left) + 1
        head = f"building {number} of {self._count}: {job.graph} in {job.precision}"
        with self._line(lambda: head + f", {self._time(time.time() - start)}") as show:
            yield show
        self._spent += time.time() - start
        self._nodes += self._left.pop(0)

    def checking(self, job: Job) -> "contextlib.AbstractContextManager[Callable[[], None]]":
        """Around a check."""
        return self._line(lambda: f"checking {job.graph}")

    @contextlib.contextmanager
    def _line(self, text: Callable[[], str]) -> Iterator[Callable[[], None]]:
        def show() -> None:
            self._status.show(text())

        show()
        try:
            yield show
        finally:
            self._status.clear()

    def _time(self, elapsed: float) -> str:
        if not self._nodes:
            return f"{_minutes(elapsed)} so far"
        rest = self._spent / self._nodes * sum(self._left) - elapsed
        return f"{_minutes(elapsed)} so far, about {_minutes(max(0.0, rest))} left for all"


def _minutes(seconds: float) -> str:
    return "{}:{:02}".format(*divmod(int(seconds), 60))
