"""Samples are bounded, drawn evenly, the same for the same seed, and only what segments are really given."""

import numpy as np
import pytest

from tlee.bundle import Bundle
from tlee.calibration.int8.collect import SampleRecorder, Samples, collect, sampling_policy
from tlee.data.labelled.loader import ClipDataset
from tlee.errors import UsageError
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backend import Backend
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend


class Counting(Backend):
    """A backend whose values are the numbers of their runs."""

    value = array = staticmethod(np.float32)

    def run(self, segment, *inputs, rows=1):
        return inputs


@pytest.fixture(scope="module")
def bundle(bundle_of_all_exits):
    return Bundle.open(bundle_of_all_exits)


@pytest.fixture(scope="module")
def backend(bundle):
    return OnnxBackend(bundle, threads=1)


@pytest.fixture(scope="module")
def videos(labelled, bundle):
    clips = ClipDataset(labelled, bundle.frames)
    return [(entry, clips[(0, i)].frames.numpy()) for i, entry in enumerate(labelled.entries)]


def all_of(bundle, size=200):
    return dict.fromkeys(bundle.segments, size)


def drawn(bundle, folder, seed, size=10, total=1000):
    """Which of so many runs of the tail are kept."""
    recorder = SampleRecorder(bundle, Counting(), str(folder), {"tail": size}, seed)
    for i in range(total):
        recorder.run("tail", i)
    return [int(sample["x2"]) for sample in recorder.samples("tail")]


def test_a_sample_is_bounded_and_the_same_for_a_seed(bundle, tmp_path):
    first = drawn(bundle, tmp_path / "a", seed=0)
    assert len(set(first)) == 10 and first == drawn(bundle, tmp_path / "b", seed=0)
    assert first != drawn(bundle, tmp_path / "c", seed=1)
    assert len(list((tmp_path / "a").iterdir())) == 10


def test_every_run_is_as_likely_to_be_kept(bundle, tmp_path):
    kept = [i for seed in range(200) for i in drawn(bundle, tmp_path / "a", seed, size=5, total=50)]
    counts = np.bincount(np.array(kept) // 10, minlength=5)
    assert counts.sum() == 1000 and (abs(counts - 200) < 60).all()  # 5 standard deviations


def test_fewer_runs_than_asked_for_are_all_kept(bundle, tmp_path):
    assert drawn(bundle, tmp_path / "a", seed=0, total=3) == [0, 1, 2]


def test_samples_are_what_the_chain_gave(bundle, backend, videos, tmp_path):
    recorder = SampleRecorder(bundle, backend, str(tmp_path), all_of(bundle))
    policy = sampling_policy(bundle)
    assert collect(bundle, recorder, videos[:1], policy, {}) == [videos[0][0]]
    first, *_ = recorder.samples("split0")
    assert (first["frame"] == videos[0][1][:1]).all() and first["frame"].dtype == np.float32
    gate = recorder.samples("head")[0]
    assert set(gate) == {"z", "temperature"} and gate["temperature"].item() == 1


def test_recording_changes_no_answer(bundle, backend, videos, tmp_path):
    recorder, policy = SampleRecorder(bundle, backend, str(tmp_path), all_of(bundle, 3)), sampling_policy(bundle)
    for _, frames in videos[:5]:
        plain, recorded = (list(exit_steps(Chain(bundle, b), frames, policy)) for b in (backend, recorder))
        assert [s.values.confidence for s in plain] == [s.values.confidence for s in recorded]


def test_only_what_frames_really_reach_is_sampled(bundle, backend, videos, tmp_path):
    leave = ExitPolicy(bundle.frames.length, Thresholds.of(bundle.exits, first=0, layer=0))
    recorder = SampleRecorder(bundle, backend, str(tmp_path), all_of(bundle))
    collect(bundle, recorder, videos, leave, {})
    assert recorder.given == {"split0": 48, "branch0": 48, "head": 48}
    assert len(recorder.samples("split2")) == 0


def test_only_segments_that_are_asked_for_are_kept(bundle, backend, videos, tmp_path):
    recorder = SampleRecorder(bundle, backend, str(tmp_path), {"head": 3})
    collect(bundle, recorder, videos[:5], sampling_policy(bundle), {})
    assert len(recorder.samples("head")) == 3 and len(recorder.samples("split0")) == 0
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"head"}


def test_samples_are_joined_and_cut():
    one, two = Samples([{}, {}]), Samples([{}])
    assert len(one + two) == 3 and len((one + two)[1:]) == 2


def test_with_the_bundles_exits_deep_segments_see_fewer_frames_than_without(bundle, backend, videos, tmp_path):
    given = []
    for early_exit in (True, False):
        recorder = SampleRecorder(bundle, backend, str(tmp_path), all_of(bundle, 1))
        collect(bundle, recorder, videos, sampling_policy(bundle, early_exit=early_exit), {})
        given.append(recorder.given)
    exits, none = given
    assert 0 < exits["tail"] < exits["split2"] + 1 < exits["split0"] < none["split0"] == 48 * 4
    assert none["tail"] == none["split2"] == 48 * 3  # the last frame answers at its first exit
    assert set(none) == set(bundle.segments)


def test_a_video_for_which_a_segment_fails_is_named(bundle, backend, videos, tmp_path):
    (entry, frames), failed = videos[0], {}
    broken = np.full_like(frames, np.nan, dtype=np.float32)
    recorder, policy = SampleRecorder(bundle, backend, str(tmp_path), {}), sampling_policy(bundle)
    answered = collect(bundle, recorder, [(entry, broken), videos[1]], policy, failed)
    assert answered == [videos[1][0]] and "not a number" in str(failed[entry.path])


def test_samples_without_room_are_one_line(bundle, backend, videos, tmp_path):
    recorder = SampleRecorder(bundle, backend, str(tmp_path / "none"), all_of(bundle))
    (tmp_path / "none").rmdir()
    with pytest.raises(UsageError, match="cannot be written .*; make room"):
        collect(bundle, recorder, videos, sampling_policy(bundle), {})
