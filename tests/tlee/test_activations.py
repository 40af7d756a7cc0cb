"""Recorded activations are what the graphs compute, and a difference is measured as documented."""

import shutil

import numpy as np
import pytest

from tlee.activations import Activations, difference
from tlee.bundle import Bundle
from tlee.errors import BundleError
from tlee.export.activations import deviation, record, sampled_frames
from tlee.export.bundle_writer import amend_bundle
from tlee.export.verify import synthetic_clips
from tlee.runtime.onnx_backend import OnnxBackend


@pytest.fixture
def bundle(small_bundle) -> Bundle:
    return Bundle.open(small_bundle)


def test_every_graph_answers_what_is_recorded_of_it(bundle):
    activations = Activations(bundle)
    for name in (*bundle.segments, *bundle.fused_exits):
        graph, samples = bundle.graph(name), list(activations.of(name))
        shared = name in ("neck", "frm", "head", "gate")
        # Four frames, one of them a first one, in which there is no feature reuse.
        assert len(samples) == (3 if name == "frm" else 4) * (bundle.exits if shared else 1)
        for inputs, outputs in samples:
            assert (list(inputs), list(outputs)) == (graph.inputs, graph.outputs)
            assert all(value.dtype == np.float32 for value in (*inputs.values(), *outputs.values()))
        assert deviation(activations, name, bundle.read(name), threads=1) < 1e-5, name


def test_samples_are_of_first_frames_and_later_ones_and_differ(bundle):
    samples = [inputs for inputs, _ in Activations(bundle).of("exit1")]
    assert [sample["position"].item() for sample in samples] == sampled_frames(bundle.frames.length)
    assert all(not np.array_equal(a["x1"], b["x1"]) for a, b in zip(samples, samples[1:]))


def test_frames_are_the_first_two_the_middle_one_and_the_last():
    assert sampled_frames(10) == [0, 1, 5, 9]
    assert sampled_frames(1) == [0, 0, 0, 0]


def test_the_first_exit_of_a_video_follows_on_nothing(bundle):
    values = record(bundle, synthetic_clips(bundle.frames), OnnxBackend(bundle, threads=1))
    assert not values["previous.0"][0].any() and np.array_equal(values["previous.1"], values["z.0"])
    assert np.array_equal(values["z.0"][0], values["feature.0"][0])
    assert values["frame"].shape == (4, 1, 32, 32, 3)


def test_files_are_checked_when_they_are_needed(small_bundle, tmp_path):
    copy = shutil.copytree(small_bundle, tmp_path / "copy.tlee")
    content = bytearray((copy / "activations" / "x1.npy").read_bytes())
    content[-1] ^= 1
    (copy / "activations" / "x1.npy").write_bytes(bytes(content))
    activations = Activations(Bundle.open(copy))
    assert len(list(activations.of("split0"))) == 4
    with pytest.raises(BundleError, match="activations/x1.npy: altered"):
        next(activations.of("split1"))


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"no array", "not recorded activations"), (None, r"\(4, 1\) of float64, not float32 of 4 samples")],
)
def test_what_is_no_array_of_the_samples_is_refused(small_bundle, tmp_path, content, match):
    copy = shutil.copytree(small_bundle, tmp_path / "copy.tlee")
    if content is None:
        np.save(tmp_path / "wrong.npy", np.zeros((4, 1)))
        content = (tmp_path / "wrong.npy").read_bytes()
    with amend_bundle(Bundle.open(copy)) as writer:
        writer.add("activations/score.0.npy", content)
        writer.finish(Bundle.open(copy).manifest)
    with pytest.raises(BundleError, match=match) as caught:
        next(Activations(Bundle.open(copy)).of("exit0"))
    assert "\n" not in str(caught.value) and "activations/score.0.npy" in str(caught.value)


def test_what_is_not_recorded_is_an_error(small_bundle, tmp_path):
    copy = shutil.copytree(small_bundle, tmp_path / "copy.tlee")
    with amend_bundle(Bundle.open(copy)) as writer:
        writer.remove("activations")
        writer.finish(Bundle.open(copy).manifest)
    with pytest.raises(BundleError, match="activations/frame.npy: not in the bundle"):
        next(Activations(Bundle.open(copy)).of("split0"))


def test_probabilities_differ_absolutely_all_else_relative_to_its_length():
    assert difference("confidence", np.float32([0.5]), np.float32([0.25])) == 0.25
    assert difference("logits", np.float32([3, 4]), np.float32([3, 5])) == pytest.approx(0.2)
    assert difference("z", np.zeros(3), np.zeros(3)) == 0
    for wrong in (np.nan, np.inf):
        assert difference("score", np.float32([0.5]), np.float32([wrong])) == float("inf")
        assert difference("x0", np.float32([1, 2]), np.float32([1, wrong])) == float("inf")
