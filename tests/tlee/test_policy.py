"""The exit rule, case by case."""

import numpy as np
import pytest

from tlee.errors import SegmentError, UsageError
from tlee.inference import ExitValues, Stages, exit_steps
from tlee.policy import GO_ON, Action, ExitPolicy, RandomExit, Reason, Thresholds, decide_arrays, exit_policy

POLICY = ExitPolicy(4, Thresholds.of(3, first=0.9, layer=[0.5, 0.6, 0.7]))


@pytest.mark.parametrize(
    ("frame", "exit", "confidence", "score", "action", "reason"),
    [
        (0, 0, 0.95, None, Action.VIDEO_DONE, Reason.FIRST_FRAME),
        (0, 0, 0.90, None, Action.FRAME_DONE, Reason.CONFIDENT),  # above, not at, the threshold
        (0, 0, 0.50, None, Action.CONTINUE, Reason.NONE),
        (1, 1, 0.55, 0.49, Action.CONTINUE, Reason.NONE),
        (1, 1, 0.61, 0.49, Action.FRAME_DONE, Reason.CONFIDENT),
        (1, 1, 0.10, 0.50, Action.VIDEO_DONE, Reason.GATE),  # at the threshold is enough
        (1, 2, 0.10, 0.10, Action.FRAME_DONE, Reason.LAST_EXIT),
        (1, 2, 0.99, None, Action.FRAME_DONE, Reason.CONFIDENT),  # the first-frame rule is over
        (3, 0, 0.01, None, Action.VIDEO_DONE, Reason.LAST_FRAME),
    ],
)
def test_an_exit_decides(frame, exit, confidence, score, action, reason):
    assert POLICY.decide(frame, exit, confidence, score) == (action, reason)


@pytest.mark.parametrize(("frames", "exits"), [(1, 1), (1, 3), (2, 3), (5, 1), (5, 4)])
def test_the_rule_on_arrays_is_the_rule(frames, exits):
    rng, count = np.random.RandomState(frames * exits), 200
    values = rng.choice([*np.arange(9) / 8, 2.0], (4, count))  # ties are frequent
    score = np.where(rng.rand(count) < 0.2, np.nan, rng.choice(np.arange(9) / 8, count))
    for t in range(frames):
        for b in range(exits):
            video_done, frame_done = decide_arrays(t, frames, b, exits, values[0], score, *values[1:])
            for i, (confidence, first, layer, gate) in enumerate(values.T.tolist()):
                policy = ExitPolicy(frames, Thresholds.of(exits, first, layer, gate))
                action = policy.decide(t, b, confidence, None if np.isnan(score[i]) else float(score[i])).action
                assert (video_done[i], frame_done[i]) == (action is Action.VIDEO_DONE, action is not Action.CONTINUE)


def test_the_gate_is_read_between_first_and_last_frame_only():
    assert [POLICY.reads_gate(t) for t in range(4)] == [False, True, True, False]


def test_a_video_of_one_frame_answers_at_its_first_exit():
    policy = ExitPolicy(1, Thresholds.of(3, 2.0, 2.0))
    assert policy.decide(0, 0, 0.1).action is Action.VIDEO_DONE


def test_without_early_exit_only_the_last_frames_tail_answers():
    policy = exit_policy("gm", 4, Thresholds.of(3, 0.0, 0.0, 0.0), early_exit=False)
    assert [policy.evaluates(b) for b in range(3)] == [False, False, True]
    assert not any(policy.reads_gate(t) for t in range(4))
    actions = [policy.decide(t, 2, 1.0).action for t in range(4)]
    assert actions == [Action.FRAME_DONE] * 3 + [Action.VIDEO_DONE]


def test_layer_exit_alone_uses_every_frame():
    policy = ExitPolicy(4, POLICY.thresholds, frame_exit=False)
    assert all(policy.evaluates(b) for b in range(3))
    assert not any(policy.reads_gate(t) for t in range(4))
    assert policy.decide(0, 0, 0.99) == (Action.FRAME_DONE, Reason.CONFIDENT)  # above the first threshold too
    assert policy.decide(1, 0, 0.1, 0.99) == GO_ON  # a score, were there one, changes nothing
    assert policy.decide(1, 2, 0.1) == (Action.FRAME_DONE, Reason.LAST_EXIT)
    assert policy.decide(3, 0, 0.1) == (Action.VIDEO_DONE, Reason.LAST_FRAME)  # at its first exit, as published


def test_frame_exit_alone_evaluates_the_tail_only():
    policy = ExitPolicy(4, POLICY.thresholds, only=2)
    assert [policy.evaluates(b) for b in range(3)] == [False, False, True]
    assert [policy.reads_gate(t) for t in range(4)] == [False, True, True, False]
    assert policy.decide(0, 2, 0.95) == (Action.VIDEO_DONE, Reason.FIRST_FRAME)
    assert policy.decide(0, 2, 0.85) == (Action.FRAME_DONE, Reason.LAST_EXIT)
    assert policy.decide(1, 2, 0.99, 0.4) == (Action.FRAME_DONE, Reason.LAST_EXIT)
    assert policy.decide(1, 2, 0.10, 0.5) == (Action.VIDEO_DONE, Reason.GATE)
    assert policy.decide(2, 2, 0.99, None) == (Action.FRAME_DONE, Reason.LAST_EXIT)  # a model without a gate
    assert policy.decide(3, 2, 0.1) == (Action.VIDEO_DONE, Reason.LAST_FRAME)


@pytest.mark.parametrize("only", range(3))
def test_one_exit_alone_is_left_by_every_frame_and_the_last_answers(only):
    stages = Scripted({(t, only): 0.99 for t in range(4)})
    steps = list(exit_steps(stages, range(4), ExitPolicy(4, POLICY.thresholds, frame_exit=False, only=only)))
    assert [(step.frame, step.exit) for step in steps] == [(t, only) for t in range(4)]
    assert [step.decision.reason for step in steps] == [Reason.LAST_EXIT] * 3 + [Reason.LAST_FRAME]
    assert not any(gated for *_, gated in stages.asked)


@pytest.mark.parametrize("only", [-1, 3])
def test_an_exit_that_is_not_there_cannot_be_the_only_one(only):
    with pytest.raises(UsageError, match=f"no exit {only}"):
        ExitPolicy(4, POLICY.thresholds, only=only)


@pytest.mark.parametrize("bad", [[0.5, 0.5], float("nan"), [0.1, float("inf"), 0.2]])
def test_thresholds_that_do_not_fit_are_refused(bad):
    with pytest.raises(UsageError, match="for 3 exits"):
        Thresholds.of(3, bad, 0.5)


def test_a_temperature_is_above_zero():
    with pytest.raises(UsageError, match="is not above 0"):
        Thresholds.of(2, 0.5, 0.5, temperature=[1.0, 0.0])


class Scripted(Stages):
    """Stages that say what a test wrote down, and remember what they were asked."""

    def __init__(self, confidences, scores=None):
        self.confidences, self.scores, self.asked = confidences, scores or {}, []

    def load(self, frame):
        return frame

    def split(self, index, x):
        return x

    def exit(self, index, x, previous, frame, gated, temperature):
        self.asked.append((x, index, previous, frame, gated))
        return ExitValues((x, index), None, self.confidences[x, index], self.scores.get((x, index)) if gated else None)


def test_z_is_handed_on_from_exit_to_exit_and_every_exit_is_told_its_frame():
    stages = Scripted({(t, b): 0.1 for t in range(3) for b in range(2)})
    list(exit_steps(stages, range(3), ExitPolicy(3, Thresholds.of(2, 0.9, 0.9))))
    assert stages.asked == [
        (0, 0, None, 0, False),
        (0, 1, (0, 0), 0, False),
        (1, 0, (0, 1), 1, True),
        (1, 1, (1, 0), 1, True),
        (2, 0, (1, 1), 2, False),
    ]


def test_frames_are_taken_only_as_many_as_needed():
    taken = []
    frames = (taken.append(t) or t for t in range(10))
    stages = Scripted({(0, 0): 0.1, (0, 1): 0.1, (1, 0): 0.1}, {(1, 0): 0.8})
    last = list(exit_steps(stages, frames, ExitPolicy(10, Thresholds.of(2, 0.9, 0.9))))[-1]
    assert (last.frame, last.exit, last.decision.reason) == (1, 0, Reason.GATE)
    assert taken == [0, 1]


@pytest.mark.parametrize(
    ("stages", "segment"),
    [(Scripted({(0, 0): np.nan}), "head"), (Scripted({(0, 0): 0.6, (1, 0): 0.1}, {(1, 0): np.nan}), "gate")],
)
def test_not_a_number_is_an_error_not_a_decision(stages, segment):
    with pytest.raises(SegmentError, match=f"segment {segment}: .* is not a number"):
        list(exit_steps(stages, range(3), ExitPolicy(3, Thresholds.of(2, 0.9, 0.5))))


def test_random_exits_read_nothing_and_come_half_of_the_time():
    policy = RandomExit(4, POLICY.thresholds, seed=1)
    assert not any(policy.reads_gate(t) for t in range(4))
    decisions = [policy.decide(t % 3, 1, 1.0 if t % 2 else 0.0) for t in range(3000)]
    shares = {action: sum(d.action is action for d in decisions) / len(decisions) for action in Action}
    # The video stops with 1/2; if not, the frame ends with 1/2.
    assert shares[Action.VIDEO_DONE] == pytest.approx(0.5, abs=0.03)
    assert shares[Action.FRAME_DONE] == pytest.approx(0.25, abs=0.03)
    assert {d.reason for d in decisions} == {Reason.RANDOM, Reason.NONE}
    assert policy.decide(3, 0, 0.0) == (Action.VIDEO_DONE, Reason.LAST_FRAME)
    ends = {policy.decide(1, 2, 0.0).reason for _ in range(100)}
    assert ends == {Reason.RANDOM, Reason.LAST_EXIT}


def test_the_same_seed_draws_the_same_exits():
    first, second = RandomExit(4, POLICY.thresholds, seed=3), RandomExit(4, POLICY.thresholds, seed=3)
    assert [first.decide(1, 0, 0.5) for _ in range(50)] == [second.decide(1, 0, 0.5) for _ in range(50)]


def test_random_exits_can_be_switched_off():
    policy = exit_policy("random", 4, POLICY.thresholds, early_exit=False)
    assert {policy.decide(0, 2, 1.0).reason for _ in range(50)} == {Reason.LAST_EXIT}


def test_the_policy_follows_the_gate():
    assert isinstance(exit_policy("random", 4, POLICY.thresholds), RandomExit)
    assert type(exit_policy("gm", 4, POLICY.thresholds)) is ExitPolicy
