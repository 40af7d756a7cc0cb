"""Modes measured in turns: in every round each has a block of its own, and who begins changes from round to round."""

from time import perf_counter
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar

import numpy as np

from tlee.benchmarks.modes import Block, Mode
from tlee.benchmarks.timed import PARTS, Parts
from tlee.benchmarks.videos import Video
from tlee.modes import EARLY, PLAIN
from tlee.reports import statistics

Turn = TypeVar("Turn")


def rotated(turns: Sequence[Turn], round: int) -> List[Turn]:
    """The order of a round: no one always comes after the same other.

    Example:
        >>> [rotated("abc", i) for i in range(4)]
        [['a', 'b', 'c'], ['c', 'a', 'b'], ['b', 'c', 'a'], ['a', 'c', 'b']]
    """
    shift, count = round % len(turns), len(turns)
    order = [turns[(i - shift) % count] for i in range(count)]
    return order[:1] + order[:0:-1] if round // count % 2 else order


def measure(modes: Sequence[Mode], videos: Sequence[Video], seconds: float, rounds: int, tell: Callable) -> None:
    """Run blocks of all modes, which keep them.

    Args:
        seconds: of a block, at least; it ends with a whole pass over the videos.
        tell: hears the round and the mode, before each block.
    """
    for i in range(rounds):
        for mode in rotated(modes, i):
            tell(i, mode.name)
            mode.blocks.append(block(mode, videos, seconds))


def block(mode: Mode, videos: Sequence[Video], seconds: float) -> Block:
    """Passes over all videos, until these seconds are over."""
    which: List[int] = []
    times: List[float] = []
    frames = 0
    mode.chain.reset()
    start = now = perf_counter()
    while now < start + seconds or not times:
        first = not mode.results
        for k, video in enumerate(videos):
            result = mode.recognize(video)
            which.append(k)
            times.append(result.milliseconds)
            frames += len(result.frames)
            if first:
                mode.results.append(result)
        now = perf_counter()
    return Block(start, now, which, times, mode.chain.parts(now - start, len(times)), frames, mode.chain.decisions)


def summary(mode: Mode, videos: Sequence[Video], start: float, energy: Any) -> Dict[str, Any]:
    """The part of the report about one mode.

    Args:
        start: of the whole measurement; the report's times count from here.
        energy: of the mode, or None.
    """
    blocks = mode.blocks
    warm, steady = statistics.warm_up(_in_order(blocks))
    kept = statistics.without_first([b.milliseconds for b in blocks], warm)
    running = sum(b.end - b.start for b in blocks)
    return {
        "name": mode.name,
        "mode": mode.mode,
        "point": mode.point,
        "blocks": [
            dict(start=b.start - start, end=b.end - start, video=b.video, milliseconds=rounded(b.milliseconds))
            for b in blocks
        ],
        "warm_up": {"runs": warm, "steady": steady},
        "latency": statistics.latency(kept),
        "rate": {
            "videos": sum(len(b.video) for b in blocks) / running,
            "frames": sum(b.frames for b in blocks) / running,
        },
        "exits": exit_counts(mode),
        "answers": answers(mode, videos),
        "parts": _parts(blocks),
        "overlapped": mode.beside,
        "energy": energy,
    }


def rounded(milliseconds: Sequence[float]) -> List[float]:
    """To what clocks resolve: raw samples are most of a report's file."""
    return [round(value, 4) for value in milliseconds]


def exit_counts(mode: Mode) -> List[List[int]]:
    """Of each frame in processing order and each exit, how many frames left there, over one pass of the videos."""
    counts = np.zeros((mode.bundle.frames.length, mode.bundle.exits), int)
    for result in mode.results:
        for t, frame in enumerate(result.frames):
            counts[t, frame.exit_layer] += 1
    return counts.tolist()


def answers(mode: Mode, videos: Sequence[Video]) -> Dict[str, Any]:
    """How often the videos were recognised, where their classes are known, else what tuning found for the operating
    point; and what the answers took. The plain backbone's answer would be the mean over all frames, which no chain
    forms: its accuracy is left to tlee-eval."""
    labels = [None if mode.mode == PLAIN else video.label for video in videos]
    accuracy, of = _tuned(mode)
    if None not in labels:
        right = [label == result.class_index for label, result in zip(labels, mode.results)]
        accuracy, of = float(np.mean(right)), "videos"
    return {
        "accuracy": accuracy,
        "of": of,
        "share": float(np.mean([result.share for result in mode.results])),
        "frames": float(np.mean([len(result.frames) for result in mode.results])),
    }


def _tuned(mode: Mode) -> Tuple[Optional[float], Optional[str]]:
    """The accuracy that tuning measured: of all exits at a point, not of those in one direction only."""
    if mode.point is None or mode.mode != EARLY:
        return None, None
    return mode.bundle.manifest["exit_rule"]["operating_points"][mode.point]["measured"]["top1"], "tuning"


def _parts(blocks: Sequence[Block]) -> Parts:
    """Means, without the first block, which warmed up, where there are others."""
    kept = blocks[1:] or blocks
    weights = [len(b.video) for b in kept]
    return {name: float(np.average([b.parts[name] for b in kept], weights=weights)) for name in PARTS}


def _in_order(blocks: Sequence[Block]) -> List[float]:
    """Times of all runs, in the order in which they ran, each divided by what its video usually takes."""
    ratios = statistics.normalised([b.milliseconds for b in blocks], [b.video for b in blocks])
    return [value for values in ratios for value in values]
