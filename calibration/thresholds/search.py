"""The search for thresholds: temperatures first, then the Pareto front of accuracy against cost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from tlee.calibration.thresholds.policies import CERTAIN, Policies, draw_log_odds, from_log_odds
from tlee.calibration.thresholds.simulate import Outcomes
from tlee.calibration.thresholds.trace import Recording, Trace

ROWS = 50_000  # logits that a temperature is fitted to
GENERATIONS, OFFSPRING, START = 30, 4000, 20_000  # policies simulated in all: 140,000
FRONT = 256  # policies on the front that are kept
BINS = 15  # of the calibration error


def fit_temperatures(recording: Recording, seed: int = 0) -> np.ndarray:
    """(E,) temperatures under which each exit's class probabilities have the least negative log-likelihood.

    Source: Guo et al., "On calibration of modern neural networks", 2017. All recorded states count alike.
    """
    logits, labels = recording.logits(), recording.labels()
    chosen = np.sort(np.random.default_rng(seed).permutation(len(logits))[:ROWS])
    rows, right = np.asarray(logits[chosen], np.float64), labels[chosen]

    def loss(log_temperature: float, b: int) -> float:
        scaled = rows[:, b] / np.exp(log_temperature)
        total = np.logaddexp.reduce(scaled, 1)
        return float((total - np.logaddexp.reduce(np.where(right, scaled, -np.inf), 1)).mean())

    best = [minimize_scalar(loss, bounds=(-3, 3), args=(b,), method="bounded") for b in range(logits.shape[1])]
    return np.round(np.exp([result.x for result in best]), 4)


def calibration_errors(trace: Trace) -> np.ndarray:
    """(E,) expected calibration errors: mean distance of confidence and accuracy in bins of equal width."""
    errors = []
    for sure, right in zip(trace.confidence.T, trace.right.T):
        bins = np.minimum((sure * BINS).astype(int), BINS - 1)
        gaps = np.bincount(bins, right.astype(float) - sure, BINS)
        errors.append(np.abs(gaps).sum() / len(sure))
    return np.array(errors)


def pareto(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Which points no other beats in one and equals in the other, by rising cost.

    Examples:
        >>> pareto(np.array([0.9, 0.8, 0.9, 0.7]), np.array([5, 2, 4, 3])).tolist()
        [1, 2]
    """
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    return order[np.flatnonzero(np.diff(best, prepend=-1) > 0)]


def thinned(front: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """At most FRONT of a front's policies, numbers in `cost`, spread evenly along it."""
    if len(front) <= FRONT:
        return front
    own = np.log(cost[front])
    wanted = np.linspace(own[0], own[-1], FRONT)
    return front[np.unique(np.abs(own[:, None] - wanted).argmin(0))]


def search_front(
    simulation: Callable[[Policies], Outcomes], temperature: np.ndarray, seed: int = 0
) -> tuple[Policies, Outcomes]:
    """Policies of the Pareto front of accuracy against cost, by rising cost.

    An evolution strategy: policies drawn at random, then offspring of the front, each threshold that varies moved in
    log-odds by steps that become finer.
    """
    rng, exits = np.random.default_rng(seed), len(temperature)
    log_odds = draw_log_odds(rng, START, exits)
    outcomes = simulation(from_log_odds(log_odds, temperature))
    for generation in range(GENERATIONS):
        keep = pareto(outcomes.accuracy, outcomes.cost)
        log_odds, outcomes = log_odds[keep], Outcomes(*(values[keep] for values in outcomes))
        children = _offspring(rng, log_odds, step=1.5 * 0.9**generation)
        born = simulation(from_log_odds(children, temperature))
        log_odds = np.concatenate([log_odds, children])
        outcomes = Outcomes(*(np.concatenate(pair) for pair in zip(outcomes, born)))
    keep = thinned(pareto(outcomes.accuracy, outcomes.cost), outcomes.cost)
    return from_log_odds(log_odds[keep], temperature), Outcomes(*(values[keep] for values in outcomes))


def _offspring(rng: np.random.Generator, front: np.ndarray, step: float) -> np.ndarray:
    """Parents anywhere on the front; a third take some thresholds from another parent near by."""
    place = rng.integers(len(front), size=OFFSPRING)
    children = front[place].copy()
    other = front[np.clip(place + rng.integers(-3, 4, OFFSPRING), 0, len(front) - 1)]
    crossed = (rng.random(OFFSPRING) < 1 / 3)[:, None, None] & (rng.random(children.shape) < 0.5)
    children = np.where(crossed, other, children)
    moved = rng.random(children.shape) < rng.choice([0.1, 0.3, 1.0], (OFFSPRING, 1, 1))
    children = np.minimum(children + moved * rng.normal(0, step, children.shape), CERTAIN)
    return np.where(rng.random(children.shape) < 0.01, CERTAIN, children)
