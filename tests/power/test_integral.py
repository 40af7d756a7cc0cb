"""Energy from power: how far off it is for curves whose integral is known, and when it is not said at all."""

import numpy as np
import pytest

from tlee.power.integral import energy, gaps, missing

INTERVAL = 0.5
SEEDS = range(40)

# Power over time, and its integral from zero.
CURVES = {
    "constant": (lambda t: 4.0 + 0 * t, lambda t: 4.0 * t),
    "ramp": (lambda t: 2 + 0.3 * t, lambda t: 2 * t + 0.15 * t**2),
    "sine": (lambda t: 5 + 2 * np.sin(t), lambda t: 5 * t + 2 * (1 - np.cos(t))),
}


def square(period, low=2.0, high=6.0):
    """Half of each period high, then low; and its integral."""

    def power(t):
        return np.where(t % period < period / 2, high, low)

    def integral(t):
        whole, rest = np.floor(t / period), t % period
        return whole * period * (high + low) / 2 + np.minimum(rest, period / 2) * (high - low) + rest * low

    return power, integral


def moments(seed, end=40.0, jitter=0.4):
    """Of readings every half second, each late or early by up to `jitter` of that."""
    random = np.random.default_rng(seed)
    return np.arange(0.0, end, INTERVAL) + random.uniform(-jitter, jitter, int(end / INTERVAL)) * INTERVAL


def block(seed):
    random = np.random.default_rng(1000 + seed)
    start = random.uniform(1, 20)
    return start, start + random.uniform(2, 15)


def relative_error(curve, times, start, end):
    power, integral = curve
    true = integral(end) - integral(start)
    return float((energy(times, power(times), start, end, INTERVAL) - true) / true)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["constant", "ramp"])
def test_power_that_is_constant_or_linear_is_exact_whenever_readings_come(name, seed):
    assert abs(relative_error(CURVES[name], moments(seed), *block(seed))) < 1e-12


@pytest.mark.parametrize("seed", SEEDS)
def test_smooth_power_is_right_to_the_square_of_the_spacing(seed):
    times, (start, end) = moments(seed), block(seed)
    # Trapezoid rule: at most max|P''| h^2 / 12 of power, and at the two ends, of less than a spacing each, h^2 / 8.
    spacing = np.diff(times).max()
    bound = 2 * spacing**2 / 8
    assert abs(relative_error(CURVES["sine"], times, start, end)) <= bound / 3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("period", [5.0, 7.3, 11.0])
def test_power_in_steps_is_wrong_by_at_most_a_spacing_for_each_step(period, seed):
    times, (start, end) = moments(seed), block(seed)
    curve = square(period)
    near = times[max(np.searchsorted(times, start) - 1, 0) : np.searchsorted(times, end) + 1]
    ups_and_downs = 4.0 * np.count_nonzero(np.diff(np.floor(np.linspace(near[0], near[-1], 20_001) / (period / 2))))
    error = relative_error(curve, times, start, end) * (curve[1](end) - curve[1](start))
    assert abs(error) <= np.diff(times).max() * ups_and_downs + 1e-9


@pytest.mark.parametrize("period", [0.01, 0.13, 0.5, 0.77])
def test_load_faster_than_readings_is_right_on_average_when_readings_do_not_keep_step(period):
    errors = [relative_error(square(period), moments(seed, jitter=0.5), 2.0, 32.0) for seed in range(200)]
    # 60 readings of 2 or 6 W: a standard deviation of at most 2 W / sqrt(60), and a 14th of that over 200 of them.
    assert abs(np.mean(errors)) < 4 * 0.5 / 60**0.5 / 200**0.5
    assert np.std(errors) < 1.2 * 0.5 / 60**0.5


def test_a_gap_is_more_than_three_sampling_intervals():
    assert gaps([0, 0.5, 2.0, 2.5], 0.5) == []
    assert gaps([0, 0.5, 2.1, 2.5, 9.0], 0.5) == [(0.5, 2.1), (2.5, 9.0)]
    assert missing([0, 0.5, 2.5, 3.0], 2.0, 3.0, 0.5) == pytest.approx(0.5)


def with_gap(seed, left, right):
    times = moments(seed, jitter=0.1)
    return times[(times < left) | (times > right)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_block_of_which_a_gap_takes_more_than_a_tenth_says_nothing(seed):
    times = with_gap(seed, 10.0, 13.0)
    left, right = gaps(times, INTERVAL)[0]
    power = CURVES["ramp"][0](times)
    assert energy(times, power, 5.0, 25.0, INTERVAL) is None  # in the middle: 3 s of 20
    assert energy(times, power, left + 0.5, right + 5, INTERVAL) is None  # begins in it
    assert energy(times, power, left - 5, right - 0.5, INTERVAL) is None  # ends in it
    assert energy(times, power, left + 0.1, right - 0.1, INTERVAL) is None  # lies in it
    assert energy(times, power, 2.0, left, INTERVAL) is not None  # ends before it
    assert energy(times, power, right, 30.0, INTERVAL) is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gap_of_less_than_a_tenth_is_bridged(seed):
    times = with_gap(seed, 10.0, 11.8)
    assert len(gaps(times, INTERVAL)) == 1
    assert abs(relative_error(CURVES["ramp"], times, 2.0, 38.0)) < 1e-12
    assert abs(relative_error(CURVES["sine"], times, 2.0, 38.0)) < 0.03


def test_beyond_the_first_and_the_last_reading_one_sampling_interval_is_held():
    times, power = [1.0, 1.5, 2.0], [4.0, 5.0, 6.0]
    assert energy(times, power, 0.5, 2.0, 0.5) == pytest.approx(2.0 + 5.0)
    assert energy(times, power, 1.0, 2.5, 0.5) == pytest.approx(5.0 + 3.0)
    assert energy(times, power, 0.4, 2.0, 0.5) is None
    assert energy(times, power, 1.0, 2.6, 0.5) is None


def test_a_block_needs_two_readings_of_its_own():
    times, power = [0.0, 0.5, 1.0, 1.5], [4.0] * 4
    assert energy(times, power, 0.1, 0.4, 0.5) is None
    assert energy(times, power, 0.1, 0.6, 0.5) is None
    assert energy(times, power, 0.5, 1.0, 0.5) == pytest.approx(2.0)
    assert energy(times, power, 0.4, 1.1, 0.5) == pytest.approx(2.8)


@pytest.mark.parametrize("count", [0, 1])
def test_without_readings_nothing_is_said(count):
    assert energy([1.0] * count, [2.0] * count, 0.8, 1.2, 0.5) is None
    assert energy([0.0, 1.0], [2.0, 2.0], 1.0, 1.0, 1.0) is None  # no time at all
