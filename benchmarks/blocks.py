"""Blocks of runs, and their order: in every round each mode, or each graph, has a block of its own, and the order
changes from round to round."""

from time import perf_counter
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, TypeVar

from tlee.power.recorder import Recorder

Turn = TypeVar("Turn")


class Block(NamedTuple):
    """Runs of one thing, back to back. Times are of `time.perf_counter`.

    Attributes:
        milliseconds: of each run.
        details: what else is known of these runs, as plain values for the report.
    """

    start: float
    end: float
    milliseconds: List[float]
    details: Dict[str, Any]

    def as_json(self, begun: float, recorder: Recorder) -> Dict[str, Any]:
        """Plain values; times count from the beginning of the measurement."""
        span = {"start": self.start - begun, "end": self.end - begun}
        joules = recorder.energy(self.start, self.end)
        return dict(self.details, milliseconds=rounded(self.milliseconds), joules=joules, **span)


def rotated(turns: Sequence[Turn], round: int) -> List[Turn]:
    """The order of a round: nothing always comes after the same other.

    Example:
        >>> [rotated("abc", i) for i in range(4)]
        [['a', 'b', 'c'], ['c', 'a', 'b'], ['b', 'c', 'a'], ['a', 'c', 'b']]
    """
    shift, count = round % len(turns), len(turns)
    order = [turns[(i - shift) % count] for i in range(count)]
    return order[:1] + order[:0:-1] if round // count % 2 else order


def repeated(once: Callable[[], List[float]], seconds: float) -> Block:
    """Call what returns milliseconds of some runs, for at least so many seconds."""
    times: List[float] = []
    start = now = perf_counter()
    while now < start + seconds or not times:
        times += once()
        now = perf_counter()
    return Block(start, now, times, {})


def rounded(milliseconds: Sequence[float]) -> List[float]:
    """To the resolution of clocks: raw samples are most of a report's file."""
    return [round(value, 4) for value in milliseconds]
