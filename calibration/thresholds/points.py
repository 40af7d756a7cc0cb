"""Operating points: which of a front's policies carry a name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlee.errors import UsageError

DROPS = {"accurate": 0.25, "balanced": 1.0, "fast": 3.0}  # points of accuracy that a named point aims to lose at most
TARGET = "target"


@dataclass(frozen=True)
class Target:
    """A user's limits; None for no limit."""

    max_drop: float | None = None  # points of accuracy that may be lost against every frame to the tail
    min_accuracy: float | None = None  # per cent
    max_cost: float | None = None  # mean per video, in the metric's unit

    def choose(self, accuracy: np.ndarray, cost: np.ndarray, full: float, unit: str) -> int:
        """The number of the cheapest point that is accurate enough, or, where only the cost is limited, of the most
        accurate one.

        Args:
            accuracy, cost: (P,) of the points, accuracies from 0 to 1.
            full: accuracy of every frame to the tail.

        Raises:
            UsageError: no point is in reach; names the nearest.
        """
        least = max(self.min_accuracy or 0.0, 0.0 if self.max_drop is None else 100 * full - self.max_drop)
        good = 100 * accuracy >= least - 1e-9
        cheap = cost <= (np.inf if self.max_cost is None else self.max_cost)
        both = np.flatnonzero(good & cheap)
        if len(both):
            cost_alone = self.max_drop is None and self.min_accuracy is None
            return int(both[accuracy[both].argmax() if cost_alone else cost[both].argmin()])
        if good.any():
            nearest = min(np.flatnonzero(good), key=lambda i: cost[i])
        else:
            nearest = max(np.flatnonzero(cheap if cheap.any() else ~good), key=lambda i: accuracy[i])
        reached = f"{100 * accuracy[nearest]:.1f} % at {cost[nearest]:.4g} {unit}"
        raise UsageError("target", f"out of reach, the nearest point is {reached}", "ask for that; nothing was written")


def named_points(accuracy: np.ndarray, cost: np.ndarray, full: float, unit: str, target: Target) -> dict[str, int]:
    """The number of each operating point, by name. Arguments and errors: see `Target.choose`.

    Those of DROPS are the cheapest that lose no more than that; where none does, the most accurate, and the cheapest of
    these.
    """
    chosen = {}
    for name, drop in DROPS.items():
        good = np.flatnonzero(100 * accuracy >= 100 * full - drop - 1e-9)
        good = good if len(good) else np.flatnonzero(accuracy >= accuracy.max() - 1e-9)
        chosen[name] = int(good[cost[good].argmin()])
    return {**chosen, TARGET: target.choose(accuracy, cost, full, unit)} if target != Target() else chosen
