"""Rules of few thresholds, which few videos can tell apart: fixed exits, one frame, one threshold of each kind."""

from __future__ import annotations

from itertools import product

import numpy as np

from tlee.calibration.thresholds.policies import Policies
from tlee.policy import NEVER, Thresholds

ALWAYS = -1.0  # a threshold that every confidence and every score reaches
CONFIDENCE = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.998)
LAYER = (0.5, 0.7, 0.9, 0.98)
GATE = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, NEVER)


def simple_rules(temperature: np.ndarray) -> Policies:
    """All of them, for exits at (E,) temperatures. In each, exits `start` to `end` may answer, frames leave at `end` at
    the latest, and no exit has a threshold of its own.

    Of the fixed exits, where so many frames leave at one exit and the last of them answers, thresholds express those of
    one frame and of two: no threshold counts frames, and a video's last frame answers at its first exit.
    """
    exits, given = len(temperature), temperature.tolist()
    rules = []
    for start, end in ((a, e) for e in range(exits) for a in range(e + 1)):
        own = np.arange(exits)
        inside, last = (own >= start) & (own <= end), own == end

        def per_exit(value: float, at_end: float, inside: np.ndarray = inside, last: np.ndarray = last) -> list[float]:
            return np.where(last, at_end, np.where(inside, value, NEVER)).tolist()

        layers, never = ((NEVER,) if start == end else (NEVER, *LAYER)), per_exit(NEVER, NEVER)
        if start == end:
            rules.append(Thresholds(per_exit(NEVER, ALWAYS), never, never, given))  # one frame
            rules.append(Thresholds(never, per_exit(NEVER, ALWAYS), per_exit(NEVER, ALWAYS), given))  # two
        else:  # one frame, up to the first exit that is sure enough
            rules += [Thresholds(per_exit(value, ALWAYS), never, never, given) for value in CONFIDENCE]
        for first, layer, gate in product((*CONFIDENCE, NEVER), layers, GATE):
            kinds = per_exit(first, first), per_exit(layer, ALWAYS), per_exit(gate, gate)
            rules.append(Thresholds(*kinds, given))
    return Policies.of(rules)
