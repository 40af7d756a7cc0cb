"""What run times say, tried on times of which the truth is known."""

import math

import numpy as np
import pytest
from helpers.simulated_launches import launch, times
from scipy import stats

from tlee.reports import statistics


def series(seed, shape=np.ones_like):
    """A launch of about 1200 runs, free of the length of videos."""
    return np.concatenate(statistics.normalised(*zip(*launch(np.random.RandomState(seed), 10, shape))))


# Quantities


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 9, 29, 1e5])
def test_quantiles_of_student_are_those_of_scipy(freedom):
    for chance in (0.05, 0.001, 1e-6):
        assert statistics.student(chance, freedom) == pytest.approx(stats.t.isf(chance / 2, freedom), rel=1e-7)


def test_the_interval_of_few_blocks_is_that_of_student():
    found = statistics.interval([3.0, 5.0, 4.0, 4.5])
    low, high = stats.t.interval(0.95, 3, 4.125, stats.sem([3.0, 5.0, 4.0, 4.5]))
    assert found == pytest.approx({"value": 4.125, "low": low, "high": high})


def test_blocks_that_resemble_their_neighbours_make_the_interval_wider():
    alternating, drifting = [1.0, 2.0] * 6, [1.0] * 6 + [2.0] * 6
    widths = [found["high"] - found["low"] for found in map(statistics.interval, (alternating, drifting))]
    assert widths[1] > 2 * widths[0]
    assert widths[0] == pytest.approx(2 * stats.t.isf(0.025, 11) * stats.sem(alternating))


def test_a_quantile_of_independent_runs_lies_between_the_runs_that_the_binomial_distribution_names():
    low, high = statistics._ranks(100, 0.5)
    assert math.floor(low) == 40 and math.ceil(high) == 61  # Conover, "Practical nonparametric statistics", 1999
    assert stats.binom.cdf(39, 100, 0.5) < 0.025 < 0.975 < stats.binom.cdf(60, 100, 0.5)


def test_few_runs_do_not_bound_a_high_quantile_from_above():
    found = statistics.latency([list(np.linspace(1, 2, 4)) for _ in range(10)])
    assert found["runs"] == 40 and found["p99"]["high"] is None
    assert found["median"]["low"] < 1.5 < found["median"]["high"]


@pytest.mark.parametrize("blocks", [[[3.0]], [[3.0, 3.5, 4.0]]])
def test_one_block_bounds_nothing(blocks):
    found = statistics.latency(blocks)
    assert all(found[name]["low"] is None and found[name]["high"] is None for name in ("mean", "median", "p90", "p99"))
    assert statistics.interval([3.0]) == {"value": 3.0, "low": None, "high": None}


@pytest.mark.parametrize(
    "blocks", [[[1.0]] * 2, [[2.0] * 3] * 12, [[1.0] * 5, [2.0] * 50], [[], [1.0], [2.0, 3.0]], [[1e-4] * 9] * 3]
)
def test_degenerate_blocks_give_numbers_or_none(blocks):
    found = statistics.latency(blocks)
    for name in ("mean", "median", "p90", "p99"):
        low, value, high = (found[name][part] for part in ("low", "value", "high"))
        assert math.isfinite(value)
        assert low is None or math.isfinite(low) and low <= value
        assert high is None or math.isfinite(high) and high >= value


def test_equal_runs_have_no_width():
    found = statistics.latency([[2.0] * 100] * 10)
    assert found["mean"] == found["median"] == found["p90"] == {"value": 2.0, "low": 2.0, "high": 2.0}


def test_outliers_count():
    assert statistics.latency([[1.0] * 99 + [101.0]] * 5)["mean"]["value"] == pytest.approx(2.0)


@pytest.fixture(scope="module")
def truth():
    everything = np.concatenate(times(launch(np.random.RandomState(1), 5000)))
    return dict(zip(("median", "p90", "p99"), np.percentile(everything, (50, 90, 99))), mean=everything.mean())


@pytest.mark.parametrize("rounds", [5, *(pytest.param(rounds, marks=pytest.mark.full) for rounds in (10, 30))])
def test_95_percent_intervals_hold_what_they_say_for_runs_that_are_not_independent(rounds, truth):
    held = dict.fromkeys(truth, 0)
    for seed in range(100):
        found = statistics.latency(times(launch(np.random.RandomState(100 + seed), rounds)))
        for name, value in truth.items():
            low, high = found[name]["low"], found[name]["high"]
            held[name] += (low is None or low <= value) and (high is None or high >= value)
    assert min(held.values()) >= 84  # 90, less what 100 tries may be off by


# Runs of videos


def test_run_times_are_divided_by_what_their_video_usually_takes():
    found = statistics.normalised([[2.0, 10.0], [4.0, 10.0, 3.0]], [[0, 1], [0, 1, 0]])
    assert [block.tolist() for block in found] == [pytest.approx([2 / 3, 1]), pytest.approx([4 / 3, 1, 1])]


def test_medians_of_groups():
    groups, medians = statistics.group_medians(np.array([5.0, 1, 4, 2, 9]), np.array([7, 3, 7, 3, 7]))
    assert groups.tolist() == [3, 7] and medians.tolist() == [1.5, 5]


def test_the_first_runs_are_left_out_over_blocks():
    assert statistics.without_first([[1, 2], [3], [4, 5]], 3) == [[4, 5]]
    assert statistics.without_first([[1, 2], [3]], 0) == [[1, 2], [3]]
    assert statistics.without_first([[1, 2], [3]], 1) == [[2], [3]]


# The warm-up


def found(shape, seeds=40):
    return [statistics.warm_up(series(seed, shape)) for seed in range(seeds)]


def test_flat_times_with_outliers_have_no_warm_up():
    assert sum(result == (0, True) for result in found(np.ones_like, 100)) >= 95


@pytest.mark.parametrize("height", [0.3, 1.0, -0.3])
def test_a_step_is_found_where_it_ends(height):
    cuts = [runs for runs, steady in found(lambda i: 1 + height * (i < 150)) if steady]
    assert sum(140 <= runs <= 200 for runs in cuts) >= 0.9 * 40


def test_of_a_decay_so_much_is_left_out_that_the_mean_is_right():
    def left(runs):  # of the decay, in the mean of the other runs
        return 0.5 * 40 * math.exp(-runs / 40) / (1200 - runs)

    results = found(lambda i: 1 + 0.5 * np.exp(-i / 40))
    assert sum(steady and left(runs) < 0.005 and runs <= 300 for runs, steady in results) >= 0.9 * 40
    assert left(0) > 0.015


def test_outliers_do_not_end_a_warm_up_and_do_not_look_like_one():
    values = np.where(np.arange(600) < 100, 1.5, 1.0) + np.random.RandomState(0).normal(0, 0.02, 600)
    values[[3, 40, 41, 99, 180, 599]] *= 8
    assert 100 <= statistics.warm_up(values)[0] <= 130
    flat = values[100:]
    flat[100:112] *= 3  # a burst
    assert statistics.warm_up(flat) == (0, True)


@pytest.mark.parametrize("slope", [0.4, -0.4])
def test_times_that_change_until_the_end_never_settle(slope):
    assert sum(not steady for _, steady in found(lambda i: 1 + slope * i / 1200)) >= 0.9 * 40


@pytest.mark.parametrize("values", [[], [1.0], [5.0] + [1.0] * 28, [1.0] * 30, [1.0] * 1000, [0.0] * 100])
def test_short_and_equal_series_have_no_warm_up(values):
    assert statistics.warm_up(values) == (0, True)


def test_an_exact_step_is_cut_exactly():
    assert statistics.warm_up([2.0] * 50 + [1.0] * 450) == (50, True)


# Differences


def test_a_difference_is_that_of_welch():
    before, after = [1.0, 2.0, 4.0], [5.0, 5.5, 4.0, 6.0, 7.0]
    found = statistics.difference(before, after)
    expected = stats.ttest_ind(after, before, equal_var=False)
    assert found.chance(0) == pytest.approx(expected.pvalue, abs=1e-4)
    interval = expected.confidence_interval()
    assert (found.value - found.half(), found.value + found.half()) == pytest.approx(tuple(interval), abs=1e-3)
    assert found.chance(10) == 1 and found.chance(1) > found.chance(0.5) > found.chance(0)


def test_a_difference_of_equal_blocks_is_certain_and_of_one_block_is_unknown():
    assert statistics.difference([1.0], [2.0, 3.0]) is None
    certain = statistics.difference([1.0, 1.0], [2.0, 2.0])
    assert (certain.value, certain.half(), certain.chance(0.5), certain.chance(1)) == (1, 0, 0, 1)


def test_several_tests_hold_by_the_method_of_holm():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert statistics.holm([0.04, 0.02]) == [True, True] and statistics.holm([]) == []
