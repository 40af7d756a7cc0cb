"""mobilenetv2_tsm in the runtime: its state is explicit, and is handed from frame to frame."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import enliven, small_model

from tlee.bundle import Bundle
from tlee.errors import BundleError
from tlee.inference import exit_steps
from tlee.info import describe
from tlee.models.model import TorchStages
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime import Recognizer

TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3}
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
LEAVES_EARLY = Thresholds.of(3, 2.0, [0.0, 2.0, 2.0], 2.0)
CLIP = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    return enliven(small_model(model=TSM))


@pytest.fixture(scope="module")
def bundle(shifted):
    """Of that model: the weights come of the same seed."""
    return shifted


def confidences(bundle, thresholds, clip=CLIP):
    trace = Recognizer.load(bundle, thresholds=thresholds).recognize(clip, trace=True).trace
    return [step.confidence for step in trace]


@pytest.mark.parametrize("thresholds", [NEVER, LEAVES_EARLY], ids=["all exits", "leaves early"])
def test_every_step_is_pytorchs(model, bundle, thresholds):
    steps = exit_steps(TorchStages(model), CLIP, ExitPolicy(4, thresholds))
    assert confidences(bundle, thresholds) == pytest.approx([s.values.confidence for s in steps], abs=1e-5)


def test_the_answer_depends_on_the_frames_before(bundle):
    other = CLIP.copy()
    other[0] = 255 - other[0]
    last = [confidences(bundle, NEVER, clip)[-1] for clip in (CLIP, other)]
    assert abs(last[0] - last[1]) > 1e-4


def test_a_frame_that_leaves_early_leaves_the_deeper_state_as_it_was(bundle):
    recognizer = Recognizer.load(bundle, thresholds=LEAVES_EARLY)
    recognizer.recognize(CLIP)
    chain = recognizer._chain
    assert chain._state[0][0] is not chain._zeros[0][0]
    assert all(state is zeros for b in (1, 2) for state, zeros in zip(chain._state[b], chain._zeros[b]))


def test_a_new_video_begins_without_a_past(bundle):
    recognizer = Recognizer.load(bundle, thresholds=NEVER)
    first, second = (recognizer.recognize(CLIP, trace=True).trace for _ in range(2))
    assert [step.confidence for step in first] == [step.confidence for step in second]


def test_the_manifest_lists_the_state(bundle):
    split = bundle.manifest["segments"]["split0"]
    # Two branches: the first split reaches up to module 8.
    assert [value["name"] for value in split["inputs"]] == ["frame", "shift3", "shift5", "shift6"]
    assert [value["name"] for value in split["outputs"]] == ["x0", "shift3_next", "shift5_next", "shift6_next"]
    assert split["state"] == {name: name + "_next" for name in ("shift3", "shift5", "shift6")}
    assert bundle.frames.order == [0, 1, 2, 3]


def test_info_counts_the_state_beside_the_values(bundle):
    split = next(line for line in describe(bundle) if line.startswith("split0"))
    assert "frame (1 32 32 3) + 3 of state" in split and "shift3" not in split


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda m: m["frames"].update(order=[2, 0, 1, 3]), "not in chronological order"),
        (lambda m: m["segments"]["split0"].pop("state"), "the state of split0 is not what follows its first input"),
    ],
)
def test_a_manifest_that_mistakes_the_state_is_refused(bundle, tmp_path, change, match):
    shutil.copytree(bundle.path, tmp_path / "a.tlee")
    path = tmp_path / "a.tlee" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=match):
        Bundle.open(tmp_path / "a.tlee")


def test_weights_that_make_frames_differ_are_what_is_tested(model):
    # Otherwise the comparisons above could not fail.
    with torch.inference_mode():
        features = model.features(torch.from_numpy(CLIP)[None], [2])[2]
    assert features.std(dim=1).mean() > 1e-3
