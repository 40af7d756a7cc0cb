"""What run times say: where the warm-up ends, and values with their 95 % intervals. Nothing is measured here.

Runs within a block are not independent (caches, clocks, other programs), so blocks are the replicates throughout.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.95
QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99}
Values = Sequence[float] | np.ndarray
Interval = dict[str, float | None]  # "value", "low", "high"; the bounds are None where the data cannot give them
REMEMBERED, MOST_MEMORY = 10, 0.8  # blocks from which on their resemblance is estimated, and what it is at most

# The warm-up. Batches are of 5 runs, as in MSER-5; short series take 3, of which the median still ignores one outlier.
BATCH, SMALL_BATCH, SMALL_SERIES, SHORTEST = 5, 3, 100, 30
FAR_OUT = 3.0  # quartile ranges beyond the quartiles: Tukey, "Exploratory data analysis", 1977
LONGEST = 0.4  # of a series; of longer warm-ups and of trends MSER leaves out nearly the half that it may
WINDOWS = 8  # that the steady state is divided into at least, to see how much it changes by itself
CHANCE = 0.005  # of a steady window to lie as far off as what is called a warm-up; small, as its end was searched for
SUSPECTED, UNSUSPECTED = 1.96, 3.0  # standard scores of a trend where MSER found no steady state, and where it did
SMALLEST = 0.01  # of the usual time; what differs less is no warm-up worth leaving runs out for


def warm_up(values: Values) -> tuple[int, bool]:
    """How many of the first runs belong to the warm-up.

    MSER-5 (White, "An effective truncation heuristic for bias reduction in simulation output", 1997; White, Cobb and
    Spratt, 2000): leave out as many batches of five runs as make the standard error of the mean of the rest smallest,
    but no more than half of them. Four changes make it robust: a batch counts with its median, so that single outliers
    do not matter; bursts of outliers are clipped to the far-out fences of the second half; since MSER also cuts what
    differs by chance, the first runs of a cut must lie outside the prediction interval made of as long windows of the
    rest; and the rest must show no trend by the test of Mann (1945) and Kendall, which is stricter if MSER would have
    cut more than half.

    Args:
        values: run times in order, divided by what their video usually takes; see `normalised`.

    Returns:
        The number of runs to leave out, a multiple of the batch, at most 40 %; and whether a steady state was found
        (if not, none are left out). Fewer than 30 runs show neither: (0, True).
    """
    runs = np.asarray(values, np.float64)
    if len(runs) < SHORTEST:
        return 0, True
    size = BATCH if len(runs) >= SMALL_SERIES else SMALL_BATCH
    batches = np.median(runs[: len(runs) // size * size].reshape(-1, size), axis=1)
    half = len(batches) // 2
    batches = _clipped(batches, batches[half:])
    errors = _standard_errors(batches)
    cut = int(np.argmin(errors[: half + 1]))
    settled = int(np.argmin(errors)) <= half
    if _trend(batches[cut:], UNSUSPECTED if settled else SUSPECTED):
        return 0, False
    if not cut or not _differs(batches, cut):
        return 0, True
    return (cut * size, True) if cut <= LONGEST * len(batches) else (0, False)


def _clipped(values: np.ndarray, usual: np.ndarray) -> np.ndarray:
    low, high = np.percentile(usual, [25, 75])
    room = FAR_OUT * (high - low)
    return np.clip(values, low - room, high + room) if room else values


def _standard_errors(values: np.ndarray) -> np.ndarray:
    """Squared, of the mean of `values[i:]` for every i that leaves at least five: the statistic of MSER."""
    values = values - values.mean()  # sums of squares lose digits otherwise
    count = np.arange(len(values), 0, -1)
    total, squares = np.cumsum(values[::-1])[::-1], np.cumsum(values[::-1] ** 2)[::-1]
    errors = (squares - total**2 / count) / count.astype(np.float64) ** 2
    errors = errors[: len(values) - BATCH + 1]
    return np.where(errors > 1e-9 * errors[0], errors, 0.0)  # equal values differ by rounding


def _differs(batches: np.ndarray, cut: int) -> bool:
    """Whether the first batches lie outside what windows of the rest let expect of one more of them."""
    rest = batches[cut:]
    length = max(1, min((cut + 1) // 2, len(rest) // WINDOWS))  # its first half, which differs most
    means = _window_means(rest, length)
    away = abs(batches[:length].mean() - means.mean())
    expected = student(CHANCE, len(means) - 1) * means.std(ddof=1) * math.sqrt(1 + 1.0 / len(means))
    return bool(away > max(expected, SMALLEST * abs(means.mean())))


def _window_means(values: np.ndarray, length: int) -> np.ndarray:
    return np.asarray(values[len(values) % length :].reshape(-1, length).mean(axis=1))


def _trend(batches: np.ndarray, score: float) -> bool:
    """Whether the means of ten windows go one way (Mann and Kendall, with a standard score above `score`), and not by
    a trifle."""
    count = min(10, len(batches))
    means = _window_means(batches, len(batches) // count)[-count:]
    signs = sum(np.sign(means[i + 1 :] - means[i]).sum() for i in range(count))
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18.0)
    change = np.median(means[-3:]) - np.median(means[:3])
    return bool(abs(signs) - 1 > score * deviation and abs(change) > 2 * SMALLEST * abs(means.mean()))


def normalised(blocks: Sequence[Values], videos: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Run times divided by the median of their video, since videos differ in length.

    Args:
        blocks: milliseconds of the runs of each block.
        videos: index of the video of each of these runs.

    Returns:
        An array per block, around 1.
    """
    times = np.concatenate([np.asarray(block, np.float64) for block in blocks])
    groups = np.concatenate([np.asarray(block, np.int64) for block in videos])
    found, medians = group_medians(times, groups)
    usual = medians[np.searchsorted(found, groups)]
    ends = np.cumsum([len(block) for block in blocks])
    return np.split(times / np.where(usual > 0, usual, 1.0), ends[:-1])


def group_medians(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The groups that occur, ascending, and the median of the values of each."""
    order = np.lexsort((values, groups))
    found, first, count = np.unique(groups[order], return_index=True, return_counts=True)
    ordered = values[order]
    return found, (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / 2


def without_first(blocks: Sequence[Sequence[float]], runs: int) -> list[Sequence[float]]:
    """The blocks without the first `runs` runs of all; blocks that held no others are not there any more."""
    kept = []
    for block in blocks:
        if len(block) > runs:
            kept.append(block[runs:])
        runs = max(0, runs - len(block))
    return kept


def latency(blocks: Sequence[Values]) -> dict[str, Any]:
    """Mean and quantiles of all runs, with 95 % intervals that treat each block as one observation.

    The mean is a ratio of sums over blocks (Cochran, "Sampling techniques", 1977, section 6.3) with a t interval.
    A quantile lies between two ordered runs whose ranks are those of the binomial distribution for the effective
    number of runs: Woodruff, "Confidence intervals for medians and other position measures", 1952, with the number of
    Korn and Graubard, "Confidence intervals for proportions with small expected number of positive counts", 1998.

    Args:
        blocks: milliseconds of the runs of each block, outliers included. At least one run.

    Returns:
        {"runs": n, "mean": Q, "median": Q, "p90": Q, "p99": Q}, Q = {"value", "low", "high"}. A bound is None where
        the data cannot give it: one block bounds nothing, and a few hundred runs do not bound p99 from above.
    """
    full = [np.asarray(block, np.float64) for block in blocks if len(block)]
    runs, owner = np.concatenate(full), np.repeat(np.arange(len(full)), [len(block) for block in full])
    quantiles = {name: _quantile(runs, owner, share) for name, share in QUANTILES.items()}
    return {"runs": len(runs), "mean": _mean(runs, owner), **quantiles}


def interval(values: Values) -> Interval:
    """The mean of block values in the order of time, at least one, with its 95 % interval of Student's t. One value has
    no interval; from ten on, the interval also allows for neighbours that resemble each other.

    Examples:
        >>> {name: round(value, 2) for name, value in sorted(interval([1.0, 2.0, 3.0]).items())}
        {'high': 4.48, 'low': -0.48, 'value': 2.0}
    """
    blocks = np.asarray(values, np.float64)
    return _mean(blocks, np.arange(len(blocks)))


def _mean(runs: np.ndarray, owner: np.ndarray) -> Interval:
    value = float(runs.mean())
    if owner[-1] == 0:
        return {"value": value, "low": None, "high": None}
    half = student(1 - LEVEL, int(owner[-1])) * math.sqrt(_variance(runs - value, owner))
    return {"value": value, "low": value - half, "high": value + half}


def _variance(deviations: np.ndarray, owner: np.ndarray) -> float:
    """Of the mean of observations in blocks, from the sums of the deviations of each block from that mean."""
    sums = np.bincount(owner, deviations)
    count = len(sums)
    variance = float(count / (count - 1.0) * (sums**2).sum()) / float(len(deviations)) ** 2
    return variance * _memory(sums)


def _memory(sums: np.ndarray) -> float:
    """By how much the variance of a mean grows as neighbouring blocks resemble each other: for a first-order
    autoregressive series, with its autocorrelation freed from bias (Marriott and Pope, "Bias in the estimation of
    autocorrelations", 1954). Fewer than ten blocks do not show it."""
    count, squares = len(sums), float((sums**2).sum())
    if count < REMEMBERED or not squares:
        return 1.0
    seen = float((sums[1:] * sums[:-1]).sum()) / squares
    memory = min(max((count * seen + 1) / (count - 3), 0.0), MOST_MEMORY)
    return (1 + memory) / (1 - memory)


def _quantile(runs: np.ndarray, owner: np.ndarray, share: float) -> Interval:
    count, blocks, ordered = len(runs), int(owner[-1]) + 1, np.sort(runs)
    value = float(np.percentile(ordered, 100 * share))
    if blocks == 1:
        return {"value": value, "low": None, "high": None}
    below = (runs <= value).astype(np.float64)
    # Where videos of different length make the quantile certain, the blocks vary less than the rounding to whole runs.
    variance = max(_variance(below - below.mean(), owner), blocks / 4.0 / count**2)
    fewer = (student(1 - LEVEL, count - 1) / student(1 - LEVEL, blocks - 1)) ** 2
    effective = share * (1 - share) / variance * fewer
    first, last = _ranks(round(effective, 3), share)
    possible = _ranks(round(min(effective, count * fewer), 3), share)
    scale = (count + 1) / (effective + 1)
    low, high = None, None
    if first is not None and possible[0] is not None:
        low = min(value, float(ordered[max(1, int(math.floor(first * scale))) - 1]))
    if last is not None and possible[1] is not None:
        high = max(value, float(ordered[min(count, int(math.ceil(last * scale))) - 1]))
    return {"value": value, "low": low, "high": high}


@functools.lru_cache(maxsize=1024)
def _ranks(count: float, share: float) -> tuple[float | None, float | None]:
    """Between which ordered ones of `count` independent runs (from 1, not whole) the quantile lies in 95 of 100
    cases; None where not even the outermost one bounds it."""
    tail = (1 - LEVEL) / 2
    if count * share * (1 - share) > 1000:  # the normal distribution is as good, and fast
        half = -float(special.ndtri(tail)) * math.sqrt(count * share * (1 - share))
        return count * share + 0.5 - half, count * share + 0.5 + half
    if count < 1:
        return None, None
    # The chance that the quantile lies below the run of a rank is that of fewer runs below the quantile: a binomial
    # distribution, here of a number of runs that is not whole.
    outermost = special.betainc([count, 1], [1, count], 1 - share)  # of the ranks 1 and `count`
    ranks = np.minimum(special.bdtrik([tail, 1 - tail], count, share) + 1, count)
    return (None if outermost[0] > tail else float(ranks[0]), None if outermost[1] < 1 - tail else float(ranks[1]))


def student(chance: float, freedom: float) -> float:
    """What Student's t with `freedom` degrees exceeds, on either side together, in this chance."""
    return -float(special.stdtrit(freedom, chance / 2))


class Difference(NamedTuple):
    """Of two means of independent blocks: the difference, its standard error and degrees of freedom."""

    value: float
    error: float
    freedom: float

    def half(self) -> float:
        """Half the width of its 95 % interval."""
        return student(1 - LEVEL, self.freedom) * self.error if self.error else 0.0

    def chance(self, margin: float) -> float:
        """At most that of a true difference within `margin`, either way, to look as large as this one."""
        beyond = abs(self.value) - margin
        if beyond <= 0:
            return 1.0
        return 2 * float(special.stdtr(self.freedom, -beyond / self.error)) if self.error else 0.0


def difference(before: Values, after: Values) -> Difference | None:
    """`after` minus `before`, without assuming that both vary alike (Welch, "The generalization of Student's problem
    when several different population variances are involved", 1947), but allowing for neighbouring blocks that resemble
    each other. None if either is a single block."""
    sides = [np.asarray(side, np.float64) for side in (before, after)]
    if min(map(len, sides)) < 2:
        return None
    parts = [_variance(side - side.mean(), np.arange(len(side))) for side in sides]
    error = math.sqrt(sum(parts))
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides))
    freedom = round(sum(parts) ** 2 / spread, 3) if spread else 1.0
    return Difference(float(sides[1].mean() - sides[0].mean()), error, freedom)


def holm(chances: Sequence[float], level: float = 1 - LEVEL) -> list[bool]:
    """Which of several tests hold, such that any wrong one among them has at most the chance `level` (Holm, "A simple
    sequentially rejective multiple test procedure", 1979). They may depend on each other in any way."""
    holds = [False] * len(chances)
    for rank, i in enumerate(np.argsort(chances, kind="mergesort")):
        if chances[i] > level / (len(chances) - rank):
            break
        holds[i] = True
    return holds
