"""Chooses among policies, and says from the same videos how much accuracy the choice loses on others.

A *level* is a price: how many points of accuracy it is worth to halve the cost. At each, the policy with the least loss
plus price is chosen. Every video serves twice: to choose the policies that are kept, and, with its fold, to measure
what policies lose that were chosen in the same way without it (cross-fitting).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.isotonic import isotonic_regression

from tlee.calibration.thresholds.simulate import VideoOutcomes

PRICES = np.geomspace(0.1, 25.0, 24)  # points of accuracy for half of the cost
FOLDS, REPEATS = 10, 3
DRAWS = 10_000  # of a bound
CONFIDENCE = 0.95  # one-sided, of what is promised
STRICTER = 0.975  # of a bound that is itself looked at to choose: in `benchmarks/development/promises.py` it keeps 95 %
QUANTILE = 1.645  # of the normal distribution, for it


class Levels(NamedTuple):
    """What is chosen at each of L levels, by falling cost, each (L,)."""

    place: np.ndarray  # the candidate's number
    cost: np.ndarray  # mean on the videos chosen by
    loss: np.ndarray  # points of accuracy lost against no exit, cross-fitted, rising
    lost: np.ndarray  # videos that no exit alone has right, cross-fitted
    won: np.ndarray  # and that the policy alone has right
    bound: np.ndarray  # points that are not exceeded, with 95 % confidence


class Fold(NamedTuple):
    """Videos that had no part in choosing: their numbers, and of which candidates is chosen."""

    videos: np.ndarray
    candidates: np.ndarray


def folds_of(videos: int, candidates: int, seed: int) -> list[Fold]:
    """REPEATS partitions of the videos into FOLDS parts each."""
    rng, every = np.random.default_rng(seed), np.arange(candidates)
    orders = [rng.permutation(videos) for _ in range(REPEATS)]
    return [Fold(part, every) for order in orders for part in np.array_split(order, FOLDS)]


def halves_of(videos: int, candidates: Sequence[int], seed: int) -> tuple[list[np.ndarray], list[Fold]]:
    """Two halves of the videos and their folds: of `candidates` (three numbers) the first serve both, the second were
    searched on the first half, and the third on the second."""
    halves = np.array_split(np.random.default_rng(seed).permutation(videos), 2)
    shared, *own = np.split(np.arange(sum(candidates)), np.cumsum(candidates)[:-1])
    others = zip(reversed(halves), own)
    return halves, [Fold(videos, np.concatenate([shared, searched])) for videos, searched in others]


def levels(each: VideoOutcomes, full: np.ndarray, folds: Sequence[Fold], kept: np.ndarray) -> Levels:
    """Choose at every level.

    Args:
        each: of P candidates on N videos.
        full: (N,) bool, which are right without exits.
        folds: in which every video is equally often.
        kept: numbers of the candidates that are chosen of in the end.
    """
    videos, right, cost = len(full), each.right.sum(1), each.cost.sum(1, dtype=np.float64)
    lost, won = np.zeros(len(PRICES)), np.zeros(len(PRICES))
    for fold in folds:
        own, aside = fold.candidates, np.ix_(fold.candidates, fold.videos)
        seen = videos - len(fold.videos)
        sums = right[own] - each.right[aside].sum(1), cost[own] - each.cost[aside].sum(1)
        chosen = own[_best(sums[0] / seen, sums[1] / seen)]
        answers, without = each.right[np.ix_(chosen, fold.videos)], full[fold.videos]
        lost += (without & ~answers).sum(1)
        won += (~without & answers).sum(1)
    times = sum(len(fold.videos) for fold in folds) / videos
    lost, won = lost / times, won / times
    place = kept[_best(right[kept] / videos, cost[kept] / videos)]
    fitted = [loss_bound(a, b, videos, STRICTER) for a, b in zip(lost, won)]
    bounds = [loss_bound(*discordant(full, right), videos, STRICTER) for right in each.right[place]]
    loss = isotonic_regression(100 * (lost - won) / videos)
    return Levels(place, cost[place] / videos, loss, lost, won, np.maximum(fitted, bounds))


def _best(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """(L,) the number of the candidate with the least loss plus price, at each level."""
    return (PRICES[:, None] * np.log2(cost) - 100 * accuracy).argmin(1)


def discordant(full: np.ndarray, right: np.ndarray) -> tuple[int, int]:
    """How many videos are right without exits alone, and how many with, of (N,) bool each."""
    return int((full & ~right).sum()), int((~full & right).sum())


@functools.lru_cache(maxsize=1000)
def loss_bound(lost: float, won: float, videos: int, confidence: float = CONFIDENCE) -> float:
    """Points of accuracy lost, at most, when `lost` of the videos are right without exits alone, and `won` with.

    Without `won` this is Clopper and Pearson's bound (1934).
    """
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([lost + 1, won + 1e-9, max(videos - lost - won, 1e-9)], DRAWS)
    return 100 * float(np.quantile(shares[:, 0] - shares[:, 1], confidence))


def videos_needed(lost: float, won: float, videos: int, aim: float) -> int:
    """How many videos it takes to promise that at most `aim` points are lost, if in truth nothing is: if as many videos
    as now differ, but half of them each way.

    Examples:
        >>> videos_needed(0, 0, 60, 1.0), videos_needed(2, 1, 60, 1.0)
        (299, 1354)
    """
    share = (lost + won) / videos
    return math.ceil(max(QUANTILE**2 * share / (aim / 100) ** 2, math.log(1 - CONFIDENCE) / math.log(1 - aim / 100)))
