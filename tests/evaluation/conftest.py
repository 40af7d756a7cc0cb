"""What the tests of evaluation share: a small trained-like model, its bundle, labelled videos."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from conftest import SMALL, enliven, small_model, write_clip

from tlee.data.labelled.listing import Listing, read_listing
from tlee.data.labelled.loader import ClipDataset
from tlee.export.exporter import export_bundle
from tlee.inference import exit_steps
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.model import Tlee, TorchStages
from tlee.policy import ExitPolicy, Thresholds

NEVER = 2.0  # a threshold that nothing crosses


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Three classes of two videos each, in folders."""
    root = tmp_path_factory.mktemp("videos")
    for c, name in enumerate(("jump", "run", "walk")):
        (root / name).mkdir()
        for i in range(2):
            write_clip(root / name / f"{i}.mp4", frames=8 + 3 * i, grey=70 * c + 20 * i)
    return root


@pytest.fixture(scope="session")
def listing(videos) -> Listing:
    return read_listing("folders", videos)


@pytest.fixture(scope="session")
def clips(listing) -> torch.Tensor:
    """(6, 4, 32, 32, 3) uint8: the videos' frames."""
    frames = ClipDataset(listing, small_model().config.frame_spec())
    return torch.stack([frames[(0, i)].frames for i in range(len(frames))])


@pytest.fixture(scope="session")
def lively(clips):
    """Builds a model whose thresholds lie amid what the clips give, so that exits of all kinds are taken; the same
    one for the same parts."""

    @functools.cache
    def build(**parts) -> Tlee:
        model = enliven(small_model(model={**SMALL["model"], **parts}))
        never, tail = Thresholds.of(model.exits, NEVER, NEVER, NEVER), model.exits - 1
        # The tail alone too: its gate then compares with the tail of the frame before.
        ways = [ExitPolicy(4, never), ExitPolicy(4, never, only=tail)]
        runs = [[s for clip in clips for s in exit_steps(TorchStages(model), clip, policy)] for policy in ways]
        exits: dict[str, list[float]] = {"first": [], "layer": [], "gate": []}
        for b in range(model.exits):
            here = [step for step in runs[b == tail] if step.exit == b]
            scores = [step.values.score for step in here if step.values.score is not None]
            exits["first"].append(amid([step.values.confidence for step in here if step.frame == 0], 0.8))
            exits["layer"].append(amid([step.values.confidence for step in here], 0.6))
            exits["gate"].append(amid(scores, 0.8) if scores else NEVER)
        model.config = model.config.model_copy(update={"exits": model.config.exits.model_copy(update=exits)})
        return model

    return build


def amid(values: list[float], share: float) -> float:
    """A number between two neighbours of the values, above so large a share of them: never a tie."""
    ordered = sorted(values)
    place = int(share * len(ordered))
    return (ordered[place - 1] + ordered[place]) / 2


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, lively) -> Path:
    path = tmp_path_factory.mktemp("lively") / "small.safetensors"
    save_checkpoint(path, lively())
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory, checkpoint) -> Path:
    """That checkpoint, exported."""
    path = tmp_path_factory.mktemp("lively") / "small.tlee"
    export_bundle(load_checkpoint(checkpoint), path, checkpoint, verified=False)
    return path
