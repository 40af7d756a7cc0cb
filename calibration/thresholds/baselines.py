"""Baselines for a tuned front: the published rule with one threshold for all exits, random exit, fixed exits."""

from __future__ import annotations

from itertools import product

import numpy as np

from tlee.calibration.thresholds.policies import Policies
from tlee.calibration.thresholds.simulate import Outcomes
from tlee.costs import Costs
from tlee.evaluation.replay import RepeatingChain
from tlee.inference import Step, exit_steps
from tlee.modes import fixed_exits
from tlee.policy import NEVER, RandomExit, Thresholds

GATE = 0.5  # published
LOG_ODDS = (-2.0, 11.0)  # log-odds that thresholds span


def published_rule(exits: int) -> Policies:
    """The published rule at every setting: a threshold for the first frame and one for layers, each the same for all
    exits; the gate at one half, no temperature."""
    settings = _settings(32)
    return Policies.of([Thresholds.of(exits, first, layer, GATE) for first in settings for layer in settings])


def shared_rule(exits: int) -> Policies:
    """The same with a variable threshold for the gate, which is fixed in the published code."""
    settings = _settings(16)
    gates = [gate for gate in settings if gate >= GATE / 2]
    return Policies.of([Thresholds.of(exits, *kinds) for kinds in product(settings, settings, gates)])


def _settings(count: int) -> list[float]:
    """Probabilities evenly spread in log-odds, and NEVER."""
    return [*(1 / (1 + np.exp(-np.linspace(*LOG_ODDS, count - 1)))).tolist(), NEVER]


class Baselines:
    """Random and fixed exits on one video after the other."""

    def __init__(self, chain: RepeatingChain, frames: int, exits: int, costs: Costs) -> None:
        self.chain, self.frames, self.exits, self.costs = chain, frames, exits, costs
        # Per video (T, E) bool: right after so many frames, each of which left at this exit and no other.
        self.fixed: list[np.ndarray] = []
        self.random: list[tuple[bool, float]] = []  # per video whether right, and its cost
        none = Thresholds.never(exits)
        self._fixed, self._random = fixed_exits(frames, none), RandomExit(frames, none)

    def add(self, clip: np.ndarray, labels: tuple[int, ...]) -> None:
        """Answer a video, (T, H, W, 3). Raises SegmentError: something computed is not a number."""
        frames = self.chain.frames_of(clip)
        predicted = [[self._predicted(s) for s in exit_steps(self.chain, frames, policy)] for policy in self._fixed]
        steps = [(step, self._predicted(step)) for step in exit_steps(self.chain, frames, self._random)]
        self.fixed.append(np.isin(np.array(predicted).T, labels))
        self.random.append((steps[-1][1] in labels, self.costs.spent([step for step, _ in steps])))

    def _predicted(self, step: Step) -> int:
        return int(self.chain.array(step.values.logits)[0].argmax())

    @property
    def without_exits(self) -> np.ndarray:
        """(N,) bool: the videos that every frame to the tail has right."""
        return np.array([right[-1, -1] for right in self.fixed])

    @property
    def full(self) -> float:
        """Accuracy of every frame to the tail."""
        return float(self.without_exits.mean())

    def points(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By kind, accuracies and costs: one of random exit, T x E of fixed exits."""
        right, cost = np.mean(np.array(self.random, np.float64), 0)
        fixed = [[self.costs.fixed(t + 1, b) for b in range(self.exits)] for t in range(self.frames)]
        return {
            "random exit": (np.array([right]), np.array([cost])),
            "fixed exits": (np.mean(self.fixed, 0).ravel(), np.array(fixed, np.float64).ravel()),
        }


def margins(accuracy: np.ndarray, cost: np.ndarray, front: Outcomes, full: tuple[float, float]) -> np.ndarray:
    """Points of accuracy by which the front is above each baseline at the baseline's cost; -inf where the baseline is
    cheaper than all of the front.

    The front ends in no exit, of accuracy and cost `full`. It is linear between its points, since alternating
    two of them from video to video gives any accuracy and cost between.

    Examples:
        >>> front = Outcomes(np.array([0.8, 0.9]), np.array([10.0, 20.0]), np.zeros(2), np.zeros(2))
        >>> margins(np.array([0.8, 0.85, 0.9]), np.array([15.0, 21.0, 9.0]), front, (0.9, 100.0)).round(3).tolist()
        [5.0, 5.0, -inf]
    """
    costs = np.append(front.cost, full[1])
    order = np.argsort(costs)  # every exit of every frame costs more than no exit
    best = np.maximum.accumulate(np.append(front.accuracy, full[0])[order])
    return 100 * (np.interp(cost * (1 + 1e-9), costs[order], best, left=-np.inf) - accuracy)
