"""What early exits have to beat, in plain words: one frame, three frames, and every frame to the tail, on the same
videos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlee.modes import EARLY, RIVALS
from tlee.reports.metrics import paired, rounded

LEAST = 1e-4  # cost to divide by: times are rounded to this


def against_rivals(hits: Mapping[str, np.ndarray], costs: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Early exits against each of `tlee.modes.RIVALS` that there is.

    Args:
        hits: by mode (N,) bool, which videos it gets right.
        costs: by mode what a video costs on average, in any unit.

    Returns:
        By rival what `tlee.reports.metrics.paired` gives with early exits first, and `cost_ratio`, early exits' cost in
        that of the rival.
    """
    return {
        rival: {**paired(hits[EARLY], hits[rival]), "cost_ratio": rounded(costs[EARLY] / max(costs[rival], LEAST))}
        for rival in RIVALS
        if rival in hits
    }


def rival_lines(
    found: Mapping[str, Mapping[str, Any]], videos: int, cost: str = "computation", name: str = EARLY
) -> list[str]:
    """A line for each rival; `found` is of `against_rivals`, `cost` says what costs are, `name` what is compared.

    Examples:
        >>> same = {"difference": 0.0, "interval": [-0.05, 0.05], "only_first": 1, "only_second": 1, "cost_ratio": 0.6}
        >>> print(*rival_lines({"one frame": same}, 63))
        early exits: as often right as one frame (95 % interval -5.0 to +5.0 points: cannot be told apart \
on 63 videos), at 0.60 times its computation
    """
    lines = []
    for rival, against in found.items():
        points, (low, high) = 100 * against["difference"], (100 * bound for bound in against["interval"])
        word = "above" if points > 0 else "below"
        level = f"{abs(points):.1f} points {word} {rival}" if points else f"as often right as {rival}"
        known = f": cannot be told apart on {videos} videos" if low <= 0 <= high else ""
        told = f"95 % interval {low:+.1f} to {high:+.1f} points{known}"
        lines.append(f"{name}: {level} ({told}), at {against['cost_ratio']:.2f} times its {cost}")
    return lines
