"""Splits queued ahead, fused and separate segments: what they change is when something runs, never an answer."""

import functools

import numpy as np
import pytest
from conftest import SMALL, enliven, small_model

from tlee.bundle import FUSED, SEPARATE
from tlee.export.exporter import export_bundle
from tlee.inference import exit_steps
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import Recognizer
from tlee.runtime.backend import BufferPool
from tlee.runtime.chain import chain_of
from tlee.runtime.onnx_backend import OnnxBackend

KINDS = {
    "max, gm": {},
    "temporal shift": {"backbone": "mobilenetv2_tsm"},
    "neck, no reuse": {"frm": "none", "neck": 20},
    "no gate": {"gate": "none"},
    "heads of each frame": {"heads": "per_frame", "gate": "eg"},
}
FULL = ("neck, no reuse", "no gate")
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)


def some_clips(count):
    """Clips of 4 frames that differ from each other and from frame to frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 4, 4, 4, 3)) * rng.uniform(0.2, 1, (count, 1, 1, 1, 1))
    fine = coarse.repeat(8, 2).repeat(8, 3) + rng.integers(0, 60, (count, 4, 32, 32, 3))
    return list(np.clip(fine, 0, 255).astype(np.uint8))


CLIPS = some_clips(8)


class Queue(OnnxBackend):
    """A GPU as the chain sees it: it notes what is queued, and when the host waits.

    Args:
        should_speculate: answers whether to queue ahead, given the graph and the chance.
    """

    def __init__(self, bundle, should_speculate, exit_graphs=FUSED, is_async=True):
        super().__init__(bundle, 1, graphs=bundle.chain(exit_graphs))
        self.is_async, self._should_speculate, self.log, self.chances = is_async, should_speculate, [], []

    def run(self, graph, *inputs, rows=1):
        self.log.append(graph)
        return super().run(graph, *inputs, rows=rows)

    def wait(self):
        self.log.append("wait")
        return super().wait()

    def should_speculate(self, graph, chance):
        self.chances.append((graph, chance))
        return self._should_speculate(graph, chance)


def always(graph, chance):
    return True


def likely(graph, chance):
    return chance > 0.5


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory, small_checkpoint):
    folder = tmp_path_factory.mktemp("kinds")

    @functools.cache
    def build(kind):
        model = enliven(small_model(model={**SMALL["model"], **KINDS[kind]}))
        return export_bundle(model, folder / f"{kind}.tlee", small_checkpoint, verified=False)

    return build


def recognizer_of(bundle, thresholds, should_speculate=always, exit_graphs=FUSED, speculate=True, is_async=True):
    backend = Queue(bundle, should_speculate, exit_graphs, is_async)
    policy = exit_policy(bundle.manifest["model"]["gate"], 4, thresholds)
    return Recognizer(bundle, chain_of(bundle, backend, exit_graphs, speculate), policy, prefetch=False)


def steps(recognizer):
    trace = [step for clip in CLIPS for step in recognizer.recognize(clip, trace=True).trace]
    return [
        (s.frame, s.exit, s.action, s.reason, s.confidence, s.score, s.logits.tolist(), s.z.tolist()) for s in trace
    ]


def amid(bundle):
    """Thresholds at which frames leave at each exit."""
    of_exits = [[step[4] for step in steps(recognizer_of(bundle, NEVER)) if step[1] == b] for b in range(3)]
    shares = zip(of_exits, (0.6, 0.3, 0.5))
    return Thresholds.of(3, 2.0, [float(np.quantile(values, share)) for values, share in shares], 2.0)


def splits(log):
    return [name for name in log if name.startswith("split")]


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
def test_the_next_split_is_queued_before_the_host_waits(bundle_of, exit_graphs):
    recognizer = recognizer_of(bundle_of("max, gm"), NEVER, exit_graphs=exit_graphs)
    recognizer.recognize(CLIPS[0])
    frames = " ".join(splits_and_waits(recognizer)).split("split0 ")[1:]
    assert frames[:3] == ["split1 wait split2 wait wait "] * 3
    assert frames[3] == "split1 wait"  # the last frame's first exit answers


def splits_and_waits(recognizer):
    return [name for name in recognizer._backend.log if name.startswith(("split", "wait"))]


def test_what_was_queued_and_is_wanted_runs_once_and_what_is_not_once_in_vain(bundle_of):
    bundle = bundle_of("max, gm")
    logs = {}
    for should_speculate in (always, None):
        recognizer = recognizer_of(
            bundle, amid(bundle), should_speculate or always, speculate=should_speculate is not None
        )
        found = steps(recognizer)
        logs[should_speculate] = splits(recognizer._backend.log)
    ended = sum(action != "continue" for _, exit, action, *_ in found if exit < 2)
    wanted = len(logs[None])
    assert ended > 4 and wanted > len(CLIPS) * 4 and len(logs[always]) == wanted + ended


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
@pytest.mark.parametrize("kind", ["max, gm", "temporal shift"])
def test_no_answer_changes(bundle_of, kind, exit_graphs):
    """Also where splits hand states on: those of a split that was queued in vain are never used."""
    bundle = bundle_of(kind)
    thresholds = amid(bundle)
    expected = steps(recognizer_of(bundle, thresholds, exit_graphs=exit_graphs, speculate=False))
    exits = {exit for _, exit, action, *_ in expected if action != "continue"}
    assert exits == {0, 1, 2}
    turn = iter(range(10**9))
    for should_speculate in (always, likely, lambda graph, chance: next(turn) % 3 == 0):
        assert steps(recognizer_of(bundle, thresholds, should_speculate, exit_graphs)) == expected


def test_on_the_cpu_nothing_is_queued_ahead(bundle_of):
    bundle = bundle_of("max, gm")
    for options in ({"is_async": False}, {"speculate": False}):
        recognizer = recognizer_of(bundle, amid(bundle), **options)
        found = steps(recognizer)
        assert recognizer._backend.chances == []
        frames = [(exit, action) for _, exit, action, *_ in found]
        assert len(splits(recognizer._backend.log)) == len(frames)
    assert not OnnxBackend(bundle, 1).should_speculate("split1", 1.0)


def test_chances_are_learnt_for_every_frame_and_exit(bundle_of):
    """Every first frame goes to the tail, every later one leaves at its first exit."""
    recognizer = recognizer_of(bundle_of("max, gm"), Thresholds.of(3, 2.0, 2.0, 2.0), likely)
    policy = recognizer.policy
    decide = policy.decide
    policy.decide = lambda frame, exit, confidence, score: decide(frame, exit, float(frame > 0) * 3.0, 0.0)
    chances = recognizer._chain._goes_on
    for _ in range(40):
        recognizer.recognize(CLIPS[0])
    assert chances.of((0, 0)) > 0.9 and chances.of((0, 1)) > 0.9
    assert chances.of((1, 0)) < 0.1 and chances.of((2, 0)) < 0.1
    assert chances.of((1, 1)) == 0.5  # nothing is known of it
    recognizer._backend.log.clear()
    recognizer.recognize(CLIPS[0])
    assert " ".join(splits_and_waits(recognizer)) == (
        "split0 split1 wait split2 wait wait split0 wait split0 wait split0 wait"
    )


def test_a_video_that_failed_leaves_no_split_behind(bundle_of):
    """What was queued for it is not taken for the next video's."""
    bundle = bundle_of("temporal shift")
    expected = steps(recognizer_of(bundle, NEVER, speculate=False))
    recognizer = recognizer_of(bundle, NEVER)

    for answered in (1, 2):  # steps taken before the video is left
        with recognizer._backend:
            left = exit_steps(recognizer._chain, iter(CLIPS[3]), recognizer.policy)
            for _ in range(answered):
                next(left)
            left.close()
    assert steps(recognizer) == expected


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.full if k in FULL else ()) for k in KINDS])
def test_fused_and_separate_exits_give_the_same_steps(bundle_of, kind):
    bundle = bundle_of(kind)
    thresholds = amid(bundle)
    fused, separate = (
        steps(recognizer_of(bundle, thresholds, exit_graphs=exit_graphs)) for exit_graphs in (FUSED, SEPARATE)
    )
    assert [step[:4] for step in fused] == [step[:4] for step in separate]
    for one, other in zip(fused, separate):
        assert one[4] == pytest.approx(other[4], abs=1e-5) and (one[5] is None) == (other[5] is None)
        assert one[5] is None or one[5] == pytest.approx(other[5], abs=1e-5)
        np.testing.assert_allclose(one[6], other[6], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(one[7], other[7], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
def test_z_and_logits_hold_until_the_next_exit_has_answered(bundle_of, exit_graphs):
    """Also while the next split is queued ahead."""
    bundle = bundle_of("temporal shift")
    backend = Queue(bundle, always, exit_graphs)
    chain = chain_of(bundle, backend, exit_graphs)
    chain.begin()
    kept, last = None, None
    for t, frame in enumerate(CLIPS[0]):
        x = chain.load(frame)
        for b in range(3):
            x = chain.split(b, x)
            values = chain.exit(b, x, last.z if last else None, t, t > 0)
            if last:  # the step before this one: its values still are what they were
                assert np.array_equal(backend.array(last.z), kept[0])
                assert np.array_equal(backend.array(last.logits), kept[1]) or exit_graphs == FUSED
            last, kept = values, (backend.array(values.z), backend.array(values.logits))


@pytest.mark.parametrize("kind", ["max, gm", "temporal shift"])
def test_an_output_holds_as_long_as_the_backend_says(bundle_of, kind):
    bundle = bundle_of(kind)
    backend = Queue(bundle, always)
    chain = chain_of(bundle, backend, FUSED)
    zeros = chain._zeros[0]
    first, *state = backend.run("split0", backend.frame(CLIPS[0][0]), *zeros)
    before = [backend.array(value) for value in (first, *state)]
    backend.run("split1", first, *chain._zeros[1])
    assert np.array_equal(backend.array(first), before[0])  # until split0 runs again
    # A state as long as it is the newest one given back in, however often what follows is dropped.
    for t in (1, 2, 3):
        backend.run("split0", backend.frame(CLIPS[0][t]), *state)
        assert all(np.array_equal(backend.array(v), old) for v, old in zip(state, before[1:]))


def test_buffers_alternate_but_are_never_those_that_are_read():
    one, other, state = [["a"], ["b"], "a"]
    pool = BufferPool([one, other])
    assert pool.first is one
    assert [pool.next(["x"]) for _ in range(3)] == [other, one, other]
    assert [pool.next([state]) for _ in range(4)] == [other] * 4
    assert pool.next(["b"]) is one and BufferPool([one]).next(["a"]) is one
