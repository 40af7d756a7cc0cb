"""Energy from readings of power: pure functions of times and watts.

What a reading is decides what the energy is worth. An INA3221, as on Jetson boards, averages over its own conversions,
a fraction of a second at most, which is short against the spacing of readings: readings stand for moments, and what
happens between two of them is not seen. Counters of energy (NVML, RAPL) miss nothing: their readings are means since
the reading before and stand at the middle of that time.
"""

from typing import List, Optional, Sequence, Tuple

import numpy as np

GAP = 3.0  # sampling intervals: two readings further apart leave a gap, of which nothing is known
TOLERATED = 0.1  # part of a time span that may lie in gaps


def gaps(times: Sequence[float], interval: float) -> List[Tuple[float, float]]:
    """Where readings, in order, are further apart than `GAP` sampling intervals of so many seconds.

    Examples:
        >>> gaps([0.0, 0.5, 2.5, 3.0], 0.5)
        [(0.5, 2.5)]
    """
    return [(left, right) for left, right in zip(times, times[1:]) if right - left > GAP * interval]


def energy(
    times: Sequence[float], watts: Sequence[float], start: float, end: float, interval: float
) -> Optional[float]:
    """Joules from `start` to `end`: power is taken as linear between readings (trapezoid rule, also at both ends) and
    as constant from an end to the nearest reading where that lies up to one sampling interval inside.

    How wrong it can be: between two readings, power is at most as far from the line as all its ups and downs there
    together. So the error is at most `interval` (where readings are further apart: their spacing) times all ups and
    downs of power from the last reading before `start` to the first after `end`; half as much but for the two ends. For
    smooth power it falls with the square of the spacing. Load that alternates faster than readings come is not bounded
    like this: there the mean over many readings is right as long as the readings do not keep step with the load.

    Args:
        times: of readings, in order, seconds; may be irregular.
        interval: nominal time between readings, seconds.

    Returns:
        None where the readings do not say: fewer than two of them are between `start` and `end`, an end lies outside
        of all by more than an interval, or gaps (see `gaps`) take more than a tenth of the time.

    Examples:
        >>> energy([0.0, 0.5, 1.0], [4.0, 6.0, 4.0], 0.0, 1.0, 0.5)
        5.0
    """
    moments, power = np.asarray(times, float), np.asarray(watts, float)
    first, last = np.searchsorted(moments, start, "left"), np.searchsorted(moments, end, "right")
    if last - first < 2 or start < moments[0] - interval or end > moments[-1] + interval:
        return None
    if missing(moments[max(first - 1, 0) : last + 1].tolist(), start, end, interval) > TOLERATED * (end - start):
        return None
    t = np.concatenate([[start], moments[first:last], [end]])
    p = np.interp(t, moments, power)  # constant beyond the first and the last reading
    return float(np.sum(np.diff(t) * (p[1:] + p[:-1])) / 2)


def missing(times: Sequence[float], start: float, end: float, interval: float) -> float:
    """Seconds between `start` and `end` that lie in gaps."""
    return float(sum(max(0.0, min(end, right) - max(start, left)) for left, right in gaps(times, interval)))
