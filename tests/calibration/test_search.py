"""Temperatures are found again, and the front is a front that no drawing of policies beats."""

import numpy as np
import pytest

from tlee.calibration.thresholds import search
from tlee.calibration.thresholds.policies import CERTAIN, draw_log_odds, from_log_odds
from tlee.calibration.thresholds.search import calibration_errors, fit_temperatures, pareto, search_front
from tlee.calibration.thresholds.simulate import Outcomes, frame_costs, simulate
from tlee.calibration.thresholds.trace import Recording, Trace, Tree
from tlee.costs import Costs

FACTORS = np.array([1.0, 2.5, 0.4])  # that an exit's logits are too large by
COSTS = frame_costs(Costs({"split0": 70, "split1": 50, "branch0": 8, "tail": 5, "head": 2, "gate": 3}), 4)
ONES = np.ones(2)


@pytest.fixture(scope="module")
def recording():
    """Four thousand states of exits whose probabilities hold, but for a factor of the logits."""
    rng = np.random.default_rng(0)
    recording = Recording(3, 5)
    for _ in range(4000):
        logits = rng.normal(0, 1.5, 5)
        powers = np.exp(logits)
        label = int(rng.choice(5, p=powers / powers.sum()))
        recording.add(Tree([np.outer(FACTORS, logits)], [[np.nan] * 3], [[0] * 3], [[False] * 3]), (label,))
    return recording


def test_temperatures_bring_logits_back(recording):
    assert fit_temperatures(recording) == pytest.approx(FACTORS, rel=0.05)


def test_temperatures_of_a_sample_are_near_and_the_same_for_a_seed(recording, monkeypatch):
    monkeypatch.setattr(search, "ROWS", 1000)
    given = [fit_temperatures(recording, seed) for seed in (0, 0, 1)]
    assert (given[0] == given[1]).all() and (given[0] != given[2]).any()
    assert given[0] == pytest.approx(FACTORS, rel=0.2)


def test_temperatures_lower_the_calibration_error(recording):
    before, after = (calibration_errors(recording.trace(t)) for t in (np.ones(3), fit_temperatures(recording)))
    assert (after[1:] < before[1:] / 2).all() and (after < 0.03).all()


def test_calibration_error_by_hand():
    recording = Recording(1, 2)
    for label, logit in ((0, np.log(0.9 / 0.1)), (1, np.log(0.9 / 0.1)), (0, np.log(0.6 / 0.4)), (0, 0.0)):
        recording.add(Tree([np.array([[logit, 0.0]])], [[np.nan]], [[0]], [[False]]), (label,))
    # Bins of 1/15: two at 0.9 of which one is right, one at 0.6, one at 0.5, both right.
    assert calibration_errors(recording.trace(np.ones(1))) == pytest.approx([(0.8 + 0.4 + 0.5) / 4])


def test_several_labels_share_the_probability():
    recording = Recording(1, 3)
    for _ in range(10):
        recording.add(Tree([np.array([[2.0, 2.0, 0.0]])], [[np.nan]], [[0]], [[False]]), (0, 1))
    assert fit_temperatures(recording)[0] < 0.1  # one of the two is always right: the surer the better


def dominates(a, b):
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_dominates(seed):
    rng = np.random.default_rng(seed)
    accuracy, cost = rng.integers(0, 12, 60) / 12, rng.integers(1, 30, 60).astype(float)  # many are equal
    points = list(zip(accuracy.tolist(), cost.tolist()))
    kept = [points[i] for i in pareto(accuracy, cost)]
    assert set(kept) == {p for p in points if not any(dominates(other, p) for other in points)}
    assert len(set(kept)) == len(kept) and kept == sorted(kept, key=lambda p: p[1])


def test_a_front_of_one_and_of_useless_policies():
    assert pareto(np.array([0.0, 0.0]), np.array([3.0, 2.0])).tolist() == [1]


@pytest.fixture(scope="module")
def trace():
    """Videos that become clearer with every frame and in the tail; how sure an exit is says how often it is right."""
    rng, states, shape = np.random.default_rng(1), [1, 2, 4, 8], (300, 15, 2)
    ease = rng.normal(0, 1.5, (300, 1, 1)) + np.repeat(np.arange(4), states)[:, None] * 0.6 + [0, 0.8]
    log_odds = ease + rng.normal(0, 0.7, shape)
    confidence = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    right = rng.random(shape) < 1 / (1 + np.exp(-log_odds))
    score = (1 / (1 + np.exp(-ease + rng.normal(1, 0.7, shape)))).astype(np.float32)
    child = np.zeros((15, 2), np.int32)
    child[:7] = np.arange(1, 15).reshape(7, 2)
    root = np.arange(300, dtype=np.int32) * 15
    children = (child + root[:, None, None] * (child > 0)).astype(np.int32)
    flat = [values.reshape(-1, 2) for values in (children, np.ones(shape, bool), confidence, score, right)]
    return Trace(root, *flat)


def found(trace, seed=0):
    return search_front(lambda policies: simulate(trace, policies, COSTS), ONES, seed)


@pytest.fixture(scope="module")
def front(trace):
    return found(trace)


def test_the_front_rises(trace, front):
    policies, outcomes = front
    assert 20 < len(policies) <= search.FRONT
    assert (np.diff(outcomes.cost) > 0).all() and (np.diff(outcomes.accuracy) > 0).all()
    assert all((a == b).all() for a, b in zip(simulate(trace, policies, COSTS), outcomes))
    assert pareto(outcomes.accuracy, outcomes.cost).tolist() == list(range(len(policies)))


def test_no_large_drawing_of_policies_is_better_anywhere(trace, front):
    drawn = from_log_odds(draw_log_odds(np.random.default_rng(9), 150_000, 2), ONES)
    rival, (_, outcomes) = simulate(trace, drawn, COSTS), front
    for cost in np.quantile(outcomes.cost, [0.05, 0.2, 0.4, 0.6, 0.8, 1]):
        best, ours = (o.accuracy[o.cost <= cost + 1e-9].max() for o in (rival, outcomes))
        assert ours >= best


def test_a_front_is_the_same_for_a_seed(trace, front):
    again, other = found(trace), found(trace, seed=1)
    assert all((a == b).all() for a, b in zip(vars(front[0]).values(), vars(again[0]).values()))
    assert [len(other[0]), *other[1].cost] != [len(again[0]), *again[1].cost]


def test_a_long_front_is_thinned_evenly_with_its_ends(trace, front, monkeypatch):
    monkeypatch.setattr(search, "FRONT", 10)
    policies, outcomes = found(trace)
    assert 5 <= len(policies) <= 10
    assert outcomes.cost[[0, -1]] == pytest.approx(front[1].cost[[0, -1]])
    assert np.diff(np.log(outcomes.cost)).max() < 0.3 * np.log(outcomes.cost[-1] / outcomes.cost[0])


def test_policies_stay_in_range_and_keep_their_temperature(trace):
    policies, _ = search_front(lambda p: simulate(trace, p, COSTS), np.array([0.5, 3.0]))
    assert (policies.temperature == [0.5, 3.0]).all()
    for values in (policies.first, policies.layer, policies.gate):
        assert ((values >= 0) & (values < 1 / (1 + np.exp(-CERTAIN))) | (values == 2)).all()
        assert (np.round(values, 7) == values).all()


def test_what_is_best_alone_is_all_that_is_kept():
    only = Outcomes(*(np.ones(search.START) for _ in range(4)))
    policies, outcomes = search_front(lambda p: Outcomes(*(values[: len(p)] for values in only)), ONES)
    assert len(policies) == 1 and outcomes.accuracy == 1
