"""Blocks of runs, and their order: in every round each mode, or each graph, has a block of its own, and the order
changes from round to round."""

from time import perf_counter
from typing import Any, Callable, Dict, List, Sequence, TypeVar

from tlee.power.recorder import Recorder

Turn = TypeVar("Turn")
Block = Dict[str, Any]  # `start`, `end` (of `time.perf_counter`), `milliseconds` of each run, and more for the report


def rotated(turns: Sequence[Turn], round: int) -> List[Turn]:
    """The order of a round: nothing always comes after the same other.

    Examples:
        >>> [rotated("abc", i) for i in range(4)]
        [['a', 'b', 'c'], ['c', 'a', 'b'], ['b', 'c', 'a'], ['a', 'c', 'b']]
    """
    shift, count = round % len(turns), len(turns)
    order = [turns[(i - shift) % count] for i in range(count)]
    return order[:1] + order[:0:-1] if round // count % 2 else order


def repeated(once: Callable[[], List[float]], seconds: float) -> Block:
    """A block: call what returns milliseconds of some runs, for at least so many seconds."""
    times: List[float] = []
    start = now = perf_counter()
    while now < start + seconds or not times:
        times += once()
        now = perf_counter()
    return {"start": start, "end": now, "milliseconds": rounded(times)}


def with_energy(blocks: Sequence[Block], recorder: Recorder, begun: float) -> List[Block]:
    """Blocks for the report: with the energy that was measured, and times since the beginning of the measurement."""
    return [
        dict(b, start=b["start"] - begun, end=b["end"] - begun, joules=recorder.energy(b["start"], b["end"]))
        for b in blocks
    ]


def rounded(milliseconds: Sequence[float]) -> List[float]:
    """To the resolution of clocks: raw samples are most of a report's file."""
    return [round(value, 4) for value in milliseconds]
