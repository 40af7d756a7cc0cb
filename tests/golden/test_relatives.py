"""FrameExit's and TSM's own answers, frame by frame, in PyTorch and in the runtime on the exported bundle."""

import json

import numpy as np
import pytest
import torch
import yaml
from conftest import EXAMPLES
from golden import golden
from golden.traces import FOLDER, golden_state

from tlee.export.exporter import export_bundle
from tlee.inference import exit_steps
from tlee.models.config import Config
from tlee.models.model import TorchStages
from tlee.models.published import load_published
from tlee.models.published_config import load_model_config
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime import Recognizer

FRAMEEXIT = json.loads((FOLDER / "frameexit_minikinetics.json").read_text())
TSM = json.loads((FOLDER / "tsm_online.json").read_text())
NEVER = Thresholds.of(1, 2.0, 2.0, 2.0)


def clip_of(trace: dict, frames: int, config: Config) -> np.ndarray:
    """The trace's clip, turned back from normalised to RGB 0-255: (T, H, W, 3) float32."""
    clip = golden.clip(frames, seed=trace["clip_seed"]).transpose(0, 2, 3, 1)
    return ((clip * np.float32(config.frames.std) + np.float32(config.frames.mean)) * 255).astype(np.float32)


def imported(trace: dict, content: dict, folder):
    """The model of a checkpoint as the project writes it, with the project's configuration, and the checkpoint."""
    path, config = folder / "model.pth.tar", folder / "config.yml"
    state = golden_state(trace["state_dict"], trace.get("logit_gain", 1.0))
    torch.save({f"module.{name}": value for name, value in state.items()} if trace is FRAMEEXIT else state, path)
    config.write_text(yaml.safe_dump(content))
    return load_published(path, load_model_config(config)[0]), path


@pytest.fixture(scope="module")
def frameexit(tmp_path_factory):
    return imported(FRAMEEXIT, FRAMEEXIT["config"], tmp_path_factory.mktemp("frameexit"))


@pytest.fixture(scope="module")
def tsm(tmp_path_factory):
    return imported(TSM, yaml.safe_load((EXAMPLES / "tsm_jester.yml").read_text()), tmp_path_factory.mktemp("tsm"))


def in_pytorch(subject):
    """A function of clip and thresholds to confidence, score, logits and z of every step."""
    model, _ = subject

    def steps(clip, thresholds):
        for step in exit_steps(TorchStages(model), clip, ExitPolicy(len(clip), thresholds)):
            yield step.values.confidence, step.values.score, step.values.logits[0].numpy(), step.values.z[0].numpy()

    return lambda *arguments: list(steps(*arguments))


def in_runtime(subject):
    model, checkpoint = subject
    # Comparing it with the trace says more than comparing it with the model.
    bundle = export_bundle(model, checkpoint.with_suffix(".tlee"), checkpoint, verified=False, replace=True)

    def steps(clip, thresholds):
        with Recognizer.load(bundle, backend="cpu", thresholds=thresholds, threads=1) as recognizer:
            return [(s.confidence, s.score, s.logits, s.z) for s in recognizer.recognize(clip, trace=True).trace]

    return steps


# The runtime's heads of each frame and its temporal shift are compared with PyTorch's on small models too.
WHERE = pytest.mark.parametrize("steps_of", [in_pytorch, pytest.param(in_runtime, marks=pytest.mark.full)])


def check_frameexit(steps, expected):
    assert len(steps) == len(expected)
    for (confidence, score, logits, z), want in zip(steps, expected):
        assert confidence == pytest.approx(want["confidence"], abs=1e-4) and logits.argmax() == want["argmax"]
        np.testing.assert_allclose(logits[:5], want["logits5"], rtol=1e-3, atol=1e-3)
        assert np.linalg.norm(z) == pytest.approx(want["feature_norm"], rel=1e-4)
        if "gate" in want:  # theirs says that the video goes on
            assert 1 - score == pytest.approx(want["gate"], abs=1e-4)


@WHERE
def test_frameexits_frames_are_answered_and_its_videos_stop_as_by_its_own_code(frameexit, steps_of):
    model, _ = frameexit
    assert model.config.thresholds().first == [FRAMEEXIT["config"]["model"]["first_threshold"]]
    clip, steps = clip_of(FRAMEEXIT, 10, model.config), steps_of(frameexit)
    check_frameexit(steps(clip, NEVER), FRAMEEXIT["free_run"])
    for run in FRAMEEXIT["runs"]:
        found = steps(clip, Thresholds.of(1, run["first_threshold"], 2.0))
        check_frameexit(found, run["steps"])
        assert len(found) == run["exit_frame"] + 1 and found[-1][2].argmax() == run["label"]


@pytest.mark.parametrize("steps_of", [in_pytorch, in_runtime])
def test_tsms_frames_are_answered_as_by_its_own_demo(tsm, steps_of):
    steps = steps_of(tsm)(clip_of(TSM, TSM["frames"], tsm[0].config), NEVER)
    assert len(steps) == len(TSM["steps"])
    for (_, _, logits, _), want in zip(steps, TSM["steps"]):
        np.testing.assert_allclose(logits, want["logits"], rtol=1e-4, atol=1e-4)
        assert logits.argmax() == want["argmax"]
