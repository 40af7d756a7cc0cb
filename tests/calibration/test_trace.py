"""A recorded trace answers as the exit rule does when it is really run, and says where it only guesses."""

import numpy as np
import pytest
import torch

from tlee.calibration.thresholds.policies import Policies, uniform
from tlee.calibration.thresholds.simulate import frame_costs, simulate
from tlee.calibration.thresholds.trace import Recording, confidences, record
from tlee.costs import Costs
from tlee.errors import SegmentError
from tlee.evaluation.replay import RepeatingChain, ReplayingChain, replaying_chain
from tlee.inference import exit_steps
from tlee.policy import NEVER, ExitPolicy
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

FULL = ("none-none", "eg-mean", "one frame")
MODELS = {
    "gm-max": {},
    "eg-mean": {"gate": "eg", "frm": "mean"},
    "none-none": {"gate": "none", "frm": "none"},
    "heads of each frame": {"heads": "per_frame", "gate": "eg"},
    "shift": {"backbone": "mobilenetv2_tsm"},
    "one frame": {"frames": 1},
}
TEMPERATURE = np.array([0.7, 1.0, 2.5])
LABELS = [(0,), (1,), (2,), (0, 2), (1,), (2,), (0,), (0, 1, 2)]  # of the clips used here; some have several
UNIFORM_ALONE = uniform(3).select([])  # those are always recorded


class Case:
    """A model and some clips: recorded, simulated and really run."""

    def __init__(self, bundle, clips):
        self.bundle, self.backend, self.frames = bundle, OnnxBackend(bundle, threads=1), bundle.frames.length
        self.clips = list(clips[3::8, : self.frames])
        self.chain = replaying_chain(bundle, self.backend)
        self.costs = Costs({name: segment.macs for name, segment in bundle.segments.items()})

    def policies(self, seed, count=40):
        """Thresholds amid what the clips give, so that exits of every kind are taken often."""
        rng, trace = np.random.default_rng(seed), self.recorded(UNIFORM_ALONE).trace(TEMPERATURE)

        def amid(values, least):
            columns = (np.unique(values[:, b]) for b in range(3))  # between two of them: never a tie
            return np.stack([np.quantile(column, rng.uniform(least, 1, count)) for column in columns], 1)

        scores = trace.score[np.isfinite(trace.score).all(1)]
        gate = amid(scores, 0.6) if len(scores) else np.full((count, 3), NEVER)
        first, layer = amid(trace.confidence, 0.8), amid(trace.confidence, 0.4)
        return Policies(first, layer, gate, np.tile(TEMPERATURE, (count, 1)))

    def recorded(self, references):
        recording = Recording(3, 3)
        for clip, labels in zip(self.clips, LABELS):
            recording.add(record(self.chain, clip, references, self.frames, 3), labels)
        return recording

    def simulated(self, recording, policies):
        """(4, P, N): whether right, cost, frames, whether guessed."""
        trace, costs = recording.trace(TEMPERATURE), frame_costs(self.costs, self.frames)
        return np.stack([simulate(trace.select([i]), policies, costs) for i in range(len(LABELS))], 2)

    def run(self, policies):
        """(3, P, N): what walks through the plain chain do."""
        ways = [ExitPolicy(self.frames, policies.thresholds(i)) for i in range(len(policies))]
        found = [[self.answer(way, *video) for video in zip(self.clips, LABELS)] for way in ways]
        return np.array(found, float).transpose(2, 0, 1)

    def answer(self, policy, clip, labels):
        chain = Chain(self.bundle, self.backend)
        steps = list(exit_steps(chain, clip, policy))
        right = chain.array(steps[-1].values.logits)[0].argmax() in labels
        return right, self.costs.spent(steps), steps[-1].frame + 1


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(parts, marks=pytest.mark.full if name in FULL else (), id=name) for name, parts in MODELS.items()
    ],
)
def case(request, lively_bundle, bar_clips):
    return Case(lively_bundle(**request.param), bar_clips)


@pytest.fixture(scope="module")
def plain_case(lively_bundle, bar_clips):
    return Case(lively_bundle(), bar_clips)


def states_by_frame(trace, frames):
    """For each video the numbers of its states, frame by frame."""
    ends = [*trace.root[1:], len(trace.child)]
    for root, end in zip(trace.root, ends):
        levels = [{int(root)}]
        for _ in range(frames - 1):
            levels.append({int(trace.child[s, b]) for s in levels[-1] for b in np.flatnonzero(trace.known[s])})
        assert set().union(*levels) == set(range(root, end))
        yield levels


def test_recorded_policies_are_followed_exactly_and_never_guessed(case):
    references = case.policies(seed=0, count=20)
    *given, guessed = case.simulated(case.recorded(references), references)
    assert (np.array(given) == case.run(references)).all()
    assert not guessed.any()


def test_other_policies_are_exact_up_to_what_is_guessed(case):
    others = case.policies(seed=2, count=30)
    *given, guessed = case.simulated(case.recorded(case.policies(seed=1, count=2)), others)
    wanted, sure = case.run(others), guessed == 0
    assert all((values[sure] == real[sure]).all() for values, real in zip(given, wanted))
    assert sure.any() and (case.frames == 1 or not sure.all())
    assert (abs(given[0].mean(1) - wanted[0].mean(1)) <= guessed.mean(1) + 1e-12).all()


def test_what_is_compared_differs_from_policy_to_policy(plain_case):
    right, costs, frames = plain_case.run(plain_case.policies(seed=0))
    assert set(frames.ravel()) == {1, 2, 3, 4} and len(np.unique(costs)) > 20
    assert len(np.unique(right.mean(1))) > 3


def test_a_score_is_there_where_the_rule_reads_it(plain_case, lively_bundle, bar_clips):
    trace = plain_case.recorded(plain_case.policies(seed=0)).trace(TEMPERATURE)
    for levels in states_by_frame(trace, 4):
        given = [np.isfinite(trace.score[sorted(states)]) for states in levels]
        assert [frame.mean() for frame in given] == [0, 1, 1, 0]  # not in the first frame, not in the last
    without = Case(lively_bundle(**MODELS["none-none"]), bar_clips).recorded(UNIFORM_ALONE).trace(TEMPERATURE)
    assert np.isnan(without.score).all()


def test_every_child_is_a_state_of_the_next_frame_of_the_same_video(case):
    trace = case.recorded(case.policies(seed=1, count=5)).trace(TEMPERATURE)
    for levels in states_by_frame(trace, case.frames):
        for states, following in zip(levels, levels[1:]):
            assert {int(child) for state in states for child in trace.child[state]} == following
        assert not trace.child[sorted(levels[-1])].any() and not trace.known[sorted(levels[-1])].any()


def test_a_guess_follows_the_nearest_exit_else_where_all_frames_left_at_this_one(plain_case):
    nearest = {(0,): [0, 0, 0], (1,): [1, 1, 1], (2,): [2, 2, 2], (0, 1): [0, 1, 1], (0, 2): [0, 2, 2]}
    nearest |= {(1, 2): [1, 1, 2], (0, 1, 2): [0, 1, 2]}
    trace, met = plain_case.recorded(plain_case.policies(seed=3, count=100)).trace(TEMPERATURE), set()
    for levels in states_by_frame(trace, 4):
        same_exits = list(levels[0]) * 3  # by exit the state where all frames left there
        for states in levels[:-1]:
            same_exits = [trace.child[state, b] for b, state in enumerate(same_exits)]
            for state in states:
                known = tuple(np.flatnonzero(trace.known[state]).tolist())
                wanted = trace.child[state, nearest[known]].tolist() if known else same_exits
                assert trace.child[state].tolist() == wanted
                met.add(known)
    assert met >= {(), (0,), (1,), (2,), (0, 2), (0, 1, 2)}


def test_a_video_is_right_with_any_of_its_labels(plain_case):
    clip = plain_case.clips[0]
    tree, recording = record(plain_case.chain, clip, UNIFORM_ALONE, 4, 3), Recording(3, 3)
    for labels in ((0,), (1,), (2,), (0, 1), (0, 1, 2)):
        recording.add(tree, labels)
    zero, one, two, both, all_of_them = np.split(recording.trace(np.ones(3)).right, 5)
    assert (zero.astype(int) + one + two == 1).all() and zero.any() and one.any()
    assert ((zero | one) == both).all() and all_of_them.all()


def test_confidences_of_a_state_are_those_of_a_walk(plain_case):
    policy = ExitPolicy(4, uniform(3).thresholds(2))
    trace = plain_case.recorded(UNIFORM_ALONE).trace(np.ones(3))
    for root, clip in zip(trace.root, plain_case.clips):
        steps = [step.values for step in exit_steps(Chain(plain_case.bundle, plain_case.backend), clip, policy)]
        assert trace.confidence[root] == pytest.approx([values.confidence for values in steps[:3]], abs=1e-6)
        second = trace.child[root, 2]
        assert list(trace.score[second]) == [np.float32(values.score) for values in steps[3:6]]


def test_selected_videos_are_simulated_alone(plain_case):
    policies, costs = plain_case.policies(seed=0), frame_costs(plain_case.costs, 4)
    trace = plain_case.recorded(policies).trace(TEMPERATURE)
    one, two, both = (simulate(trace.select(videos), policies, costs) for videos in ([1], [4], [1, 4]))
    assert all((2 * b == a + c).all() for a, c, b in zip(one, two, both))


@pytest.mark.parametrize("pixel", [np.nan, np.inf])
def test_what_is_not_a_number_is_refused(case, pixel):
    clip = np.full(case.clips[0].shape, pixel, np.float32)
    with pytest.raises(SegmentError, match="at frame 0, exit 0 is not a number"):
        record(case.chain, clip, UNIFORM_ALONE, case.frames, 3)


def test_a_score_that_is_not_a_number_is_refused(plain_case, monkeypatch):
    chain = replaying_chain(plain_case.bundle, plain_case.backend)
    answer = chain.exit

    def broken(index, x, previous, frame, gated):
        values = answer(index, x, previous, frame, gated)
        return values._replace(score=np.nan) if gated and index == 1 else values

    monkeypatch.setattr(chain, "exit", broken)
    with pytest.raises(SegmentError, match="at frame 1, exit 1 is not a number"):
        record(chain, plain_case.clips[0], UNIFORM_ALONE, 4, 3)


def test_confidence_is_the_largest_probability_at_a_temperature():
    logits = np.random.default_rng(0).normal(0, 5, (50, 3, 7)).astype(np.float32)
    wanted = (torch.from_numpy(logits).double() / torch.tensor(TEMPERATURE)[:, None]).softmax(2).amax(2)
    assert confidences(logits, TEMPERATURE) == pytest.approx(wanted.numpy())
    several = np.array([0.1, 1, 30])
    one = [(torch.from_numpy(logits[0, 0]).double() / t).softmax(0).max().item() for t in several]
    assert confidences(logits[0, 0], several) == pytest.approx(one)
    assert confidences(np.array([1e30, 0, -1e30]), np.ones(1)) == 1


@pytest.mark.parametrize("name", ["gm-max", pytest.param("none-none", marks=pytest.mark.full)])
def test_replayed_walks_are_the_plain_chains_bit_for_bit(lively_bundle, bar_clips, name):
    case = Case(lively_bundle(**MODELS[name]), bar_clips)
    policies, plain = case.policies(seed=4, count=20), Chain(case.bundle, case.backend)
    assert type(case.chain) is ReplayingChain

    def walked(chain, frames, policy):
        steps = ((step, chain.array(step.values.logits)[0]) for step in exit_steps(chain, frames, policy))
        return [(s.frame, s.exit, s.decision, s.values.confidence, s.values.score, *logits) for s, logits in steps]

    for clip in case.clips[:3]:
        for policy in (ExitPolicy(4, policies.thresholds(i)) for i in range(len(policies))):
            assert walked(case.chain, case.chain.frames_of(clip), policy) == walked(plain, clip, policy)


def test_features_are_computed_once_per_clip_and_only_of_frames_that_are_used(plain_case, monkeypatch):
    ran, run = [], plain_case.backend.run
    monkeypatch.setattr(plain_case.backend, "run", lambda name, *inputs: ran.append(name) or run(name, *inputs))
    chain = replaying_chain(plain_case.bundle, plain_case.backend)
    first, second = plain_case.clips[:2]
    for clip, policy, computed in (
        (first, uniform(3).thresholds(0), 4),
        (first, uniform(3).thresholds(2), 4),
        (second, uniform(3).thresholds(1)._replace(first=[-1.0] * 3), 5),
        (second, uniform(3).thresholds(1), 8),
        (first, uniform(3).thresholds(1), 12),  # another clip's features are not kept
    ):
        list(exit_steps(chain, chain.frames_of(clip), ExitPolicy(4, policy)))
        assert [ran.count(name) for name in ("split0", "split2", "tail")] == [computed] * 3


def test_only_a_temporal_shift_is_computed_anew(lively_bundle):
    bundle = lively_bundle(**MODELS["shift"])
    assert type(replaying_chain(bundle, OnnxBackend(bundle, threads=1))) is RepeatingChain
