"""The progress of a video through the exit rule: several advance side by side as each does alone."""

import pytest

from tlee.errors import SegmentError
from tlee.inference import ExitState, ExitValues, Stages, exit_steps
from tlee.policy import Action, ExitPolicy, RandomExit, Thresholds

THRESHOLDS = Thresholds.of(3, first=0.9, layer=[0.5, 0.6, 0.7], temperature=[0.5, 1.0, 2.0])


class Scripted(Stages):
    """Confidences that depend on frame and exit, and on the video."""

    def __init__(self, video):
        self.video = video

    def load(self, frame):
        return frame

    def split(self, index, x):
        return x

    def exit(self, index, x, previous, frame, gated, temperature):
        return values(self.video, x, index, gated)


def values(video, frame, exit, gated):
    number = (7 * video + 5 * frame + 3 * exit) % 10 / 10
    return ExitValues((video, frame, exit), None, number, number / 2 if gated else None)


def steps_of(video, state):
    """A video's steps, one by one, as the batch takes them."""
    while not state.done:
        if state.evaluated:
            yield state.answer(values(video, state.frame, state.exit, state.gated))
        else:
            yield state.go_on()


@pytest.mark.parametrize(
    "policy",
    [ExitPolicy(4, THRESHOLDS), ExitPolicy(4, THRESHOLDS, only=2), ExitPolicy(4, THRESHOLDS, frame_exit=False)],
    ids=["exits", "one exit", "layer exits"],
)
def test_step_by_step_a_video_takes_the_exits_that_it_takes_in_one_loop(policy):
    for video in range(10):
        taken = [step for step in steps_of(video, ExitState(policy)) if step]
        assert taken == list(exit_steps(Scripted(video), range(4), policy))


def test_what_comes_next_is_known_before_it_runs():
    state = ExitState(ExitPolicy(3, THRESHOLDS))
    said = []
    for confidence, score in ((0.1, None), (0.65, None), (0.1, 0.2), (0.1, 0.6)):
        said.append((state.frame, state.exit, state.gated, state.temperature, state.previous))
        state.answer(ExitValues(len(said), None, confidence, score))
    assert said == [
        (0, 0, False, 0.5, None),
        (0, 1, False, 1.0, 1),
        (1, 0, True, 0.5, 2),
        (1, 1, True, 1.0, 3),
    ]
    assert state.done and state.previous == 4


def test_videos_in_turn_draw_what_they_draw_one_after_the_other():
    alone = [
        list(exit_steps(Scripted(video), range(4), policy))
        for policy in [RandomExit(4, THRESHOLDS)]
        for video in range(30)
    ]
    policy = RandomExit(4, THRESHOLDS)
    videos = [steps_of(video, ExitState(policy)) for video in range(30)]
    found = [[] for _ in videos]
    for _ in range(12):
        for steps, state in zip(found, videos):
            steps.extend(step for step in [next(state, None)] if step)
    assert found == alone and len({len(steps) for steps in found}) > 2
    assert all(steps[-1].decision.action is Action.VIDEO_DONE for steps in found)


@pytest.mark.parametrize(
    ("confidence", "score", "words"),
    [
        (237.58, None, "the confidence at frame 0, exit 0 is 237.58, not between 0 and 1"),
        (-0.1, None, "the confidence at frame 0, exit 0 is -0.1, not between 0 and 1"),
        (0.5, 1.5, "the gate score at frame 0, exit 0 is 1.5, not between 0 and 1"),
    ],
)
def test_what_is_no_probability_is_an_error(confidence, score, words):
    with pytest.raises(SegmentError, match=words):
        ExitState(ExitPolicy(3, THRESHOLDS)).answer(ExitValues(None, None, confidence, score))


def test_a_probability_may_be_rounded_beyond_one():
    ExitState(ExitPolicy(3, THRESHOLDS)).answer(ExitValues(None, None, 1.0005, -0.0005))


def test_after_an_answer_that_is_not_a_number_it_is_where_it_was():
    state = ExitState(ExitPolicy(3, THRESHOLDS))
    with pytest.raises(SegmentError, match="the confidence at frame 0, exit 0 is not a number"):
        state.answer(ExitValues(None, None, float("inf"), None))
    assert (state.frame, state.exit, state.done) == (0, 0, False)
