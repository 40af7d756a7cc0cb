"""The compiled rule decides as the policy itself does, ties included, on trees that no model made."""

import numpy as np
import pytest

from tlee.calibration.thresholds.policies import Policies, draw_log_odds, from_log_odds, uniform
from tlee.calibration.thresholds.simulate import BLOCK, frame_costs, simulate, simulate_each
from tlee.calibration.thresholds.trace import Trace
from tlee.costs import Costs
from tlee.inference import ExitValues, Step
from tlee.policy import NEVER, Action, ExitPolicy

EIGHTHS = np.arange(9) / 8  # exact in float32, so that thresholds are met exactly
COSTS = Costs({"split0": 1000, "split1": 300, "split2": 200, "branch0": 50, "branch1": 40, "tail": 30, "head": 7})
GATED = Costs({"split0": 1000, "split1": 300, "branch0": 50, "tail": 30, "head": 7, "frm": 5, "gate": 3})


def random_trace(rng, frames, exits, videos=20, states=4):
    """Videos of so many states in each frame but the first, that lead on to any of the next frame's."""
    own = 1 + states * (frames - 1)
    root = np.arange(videos, dtype=np.int32) * own
    child = np.zeros((videos, own, exits), np.int32)
    frame = np.array([0, *np.repeat(np.arange(1, frames), states)])
    for t in range(frames - 1):
        here = frame == t
        child[:, here] = rng.integers(1 + states * t, 1 + states * (t + 1), (videos, here.sum(), exits))
    score = rng.choice(EIGHTHS, child.shape)
    score[:, (frame == 0) | (frame == frames - 1)] = np.nan
    child[:, frame < frames - 1] += root[:, None, None]
    shape = (videos * own, exits)
    known, right = rng.random(shape) < 0.8, rng.random(shape) < 0.5
    confidence = rng.choice(EIGHTHS, shape).astype(np.float32)
    return Trace(root, child.reshape(shape), known, confidence, score.reshape(shape).astype(np.float32), right)


def random_policies(rng, count, exits):
    """Thresholds that are met exactly, often; some are met by nothing, some by everything."""
    values = rng.choice([-1, *EIGHTHS, NEVER], (3, count, exits))
    return Policies(*values, np.ones((count, exits)))


def followed(trace, policy, video, costs):
    """(right, cost, frames, guessed) of the rule, decision by decision."""
    state, steps, guessed = int(trace.root[video]), [], False
    for t in range(policy.frames):
        for b in range(policy.exits):
            score = float(trace.score[state, b]) if policy.reads_gate(t) else None
            score = None if score is None or np.isnan(score) else score
            confidence = float(trace.confidence[state, b])
            decision = policy.decide(t, b, confidence, score)
            steps.append(Step(t, b, ExitValues(None, None, confidence, score), decision))
            if decision.action is not Action.CONTINUE:
                break
        if decision.action is Action.VIDEO_DONE:
            return bool(trace.right[state, b]), costs.spent(steps), t + 1, guessed
        guessed |= not trace.known[state, b]
        state = int(trace.child[state, b])


@pytest.mark.parametrize(("frames", "costs"), [(4, COSTS), (4, GATED), (3, GATED), (2, GATED), (1, COSTS)])
def test_the_kernel_is_the_rule(frames, costs):
    rng, exits = np.random.default_rng(frames), len(costs.exits)
    trace, policies = random_trace(rng, frames, exits), random_policies(rng, 200, exits)
    if not costs.gate:
        trace.score[:] = np.nan
    given = np.array(simulate(trace, policies, frame_costs(costs, frames))).T
    for i, outcome in enumerate(given):
        policy = ExitPolicy(frames, policies.thresholds(i))
        assert outcome.tolist() == np.mean([followed(trace, policy, v, costs) for v in range(20)], 0).tolist()
    assert frames == 1 or len(np.unique(given, axis=0)) > 50


@pytest.mark.parametrize(
    ("first", "layer", "gate", "frames", "cost"),
    [
        (0.5, NEVER, NEVER, 3, None),  # a confidence that equals a threshold is not above it
        (0.5 - 1e-9, NEVER, NEVER, 1, 1057),
        (NEVER, 0.5, 0.75, 2, None),  # a score that equals the gate's threshold stops
        (NEVER, 0.5, 0.75 + 1e-9, 3, None),
        (NEVER, 0.5 - 1e-9, NEVER, 3, 3 * 1057),
    ],
)
def test_at_the_threshold(first, layer, gate, frames, cost):
    shape = (3, 3)
    trace = Trace(
        np.zeros(1, np.int32),
        np.array([[1] * 3, [2] * 3, [0] * 3], np.int32),
        np.ones(shape, bool),
        np.full(shape, 0.5, np.float32),
        np.array([[np.nan] * 3, [0.75] * 3, [np.nan] * 3], np.float32),
        np.ones(shape, bool),
    )
    policies = Policies(*(np.full((1, 3), value) for value in (first, layer, gate, 1.0)))
    found = simulate(trace, policies, frame_costs(COSTS, 3))
    assert found.frames == frames and (cost is None or found.cost == cost)
    assert found.accuracy == 1 and found.unrecorded == 0


def test_many_policies_keep_their_order():
    rng = np.random.default_rng(0)
    trace, policies, costs = random_trace(rng, 4, 3), random_policies(rng, 2 * BLOCK + 5, 3), frame_costs(COSTS, 4)
    together = simulate(trace, policies, costs)
    for i in (0, BLOCK - 1, BLOCK, 2 * BLOCK, 2 * BLOCK + 4):
        alone = simulate(trace, policies.select([i]), costs)
        assert [values[i] for values in together] == [values[0] for values in alone]


def test_what_a_frame_costs():
    branch, tail = 1000 + 50 + 5 + 7, 1300 + (50 + 5 + 7) + (30 + 5 + 7)
    assert frame_costs(GATED, 1).tolist() == [[branch, tail]]
    assert frame_costs(GATED, 2).tolist() == [[branch, tail]] * 2
    # The gate is read at every exit, in frames between the first and the last.
    assert frame_costs(GATED, 4).tolist() == [[branch, tail], *[[branch + 3, tail + 6]] * 2, [branch, tail]]


def test_drawn_policies_are_probabilities_or_never():
    policies = from_log_odds(draw_log_odds(np.random.default_rng(0), 500, 3), np.array([0.5, 1.0, 2.0]))
    for values in (policies.first, policies.layer, policies.gate):
        assert ((values > 0) & ((values < 1) | (values == NEVER))).all()
        assert 0.01 < (values == NEVER).mean() < 0.2
    assert (policies.temperature == [0.5, 1.0, 2.0]).all() and len(policies) == 500
    assert ExitPolicy(4, policies.thresholds(7)).thresholds.gate == policies.gate[7].tolist()


@pytest.mark.parametrize("exit", range(3))
def test_uniform_policies_leave_every_frame_at_one_exit(exit):
    policy = ExitPolicy(4, uniform(3).thresholds(exit))
    for t, confidence, score in ((0, 0.0, None), (0, 1.0, None), (1, 0.0, 1.0), (2, 1.0, 1.0)):
        actions = [policy.decide(t, b, confidence, score).action for b in range(exit + 1)]
        assert actions == [Action.CONTINUE] * exit + [Action.FRAME_DONE]


def test_outcomes_by_video_have_the_means_of_all():
    rng = np.random.default_rng(5)
    trace, policies, costs = random_trace(rng, 3, 2), random_policies(rng, BLOCK + 9, 2), frame_costs(GATED, 3)
    each, means = simulate_each(trace, policies, costs), simulate(trace, policies, costs)
    assert each.right.dtype == bool and each.right.shape == each.cost.shape == (len(policies), len(trace.root))
    assert each.right.mean(1) == pytest.approx(means.accuracy) and each.cost.mean(1) == pytest.approx(means.cost)
    alone = simulate(trace.select([7]), policies, costs)
    assert (each.right[:, 7] == alone.accuracy).all() and each.cost[:, 7] == pytest.approx(alone.cost)
