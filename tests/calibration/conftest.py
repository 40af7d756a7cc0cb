"""What the tests of calibration share: labelled videos, and a bundle whose videos take exits of all kinds."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, enliven, small_model, write_clip

from tlee.bundle import Bundle
from tlee.calibration.int8 import segment
from tlee.calibration.int8.collect import sampling_policy
from tlee.calibration.thresholds import search
from tlee.data.labelled.listing import Entry, Listing, read_listing
from tlee.data.labelled.loader import ClipDataset
from tlee.export.bundle_writer import amend_bundle
from tlee.export.exporter import export_bundle
from tlee.inference import exit_steps
from tlee.models.checkpoint import save_checkpoint
from tlee.models.model import Tlee, TorchStages
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

CLASSES = ("jump", "run", "walk")
PER_CLASS = 16


@pytest.fixture(scope="session", autouse=True)
def quantised_once():
    """A segment with the same ranges becomes the same INT8 form, which takes half of a calibration; that it does,
    test_qdq.py says."""
    with pytest.MonkeyPatch.context() as patch:
        made = segment.quantised
        once = functools.cache(lambda model, ranges, floats: made(model, dict(ranges), floats))
        given = lambda model, ranges, floats: once(model, tuple(ranges.items()), frozenset(floats))  # noqa: E731
        patch.setattr(segment, "quantised", given)
        yield


@pytest.fixture(scope="session")
def labelled_videos(tmp_path_factory) -> Path:
    """Three classes of sixteen short videos each, in folders, no two alike."""
    root = tmp_path_factory.mktemp("labelled")
    for c, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(PER_CLASS):
            write_clip(root / name / f"{i:02}.mp4", frames=6 + i % 5, grey=70 * c + 4 * i)
    return root


@pytest.fixture(scope="session")
def labelled(labelled_videos) -> Listing:
    return read_listing("folders", labelled_videos)


@pytest.fixture(scope="session")
def bundle_of_all_exits(tmp_path_factory, labelled) -> Path:
    """A bundle whose thresholds lie amid what these videos give. Tests that alter it copy it first."""
    folder = tmp_path_factory.mktemp("all-exits")
    model = fitted(enliven(small_model(model={**SMALL["model"], "frm": "ap"})), labelled)
    save_checkpoint(folder / "small.safetensors", model)
    path = folder / "small.tlee"
    export_bundle(model, path, folder / "small.safetensors", verified=False)
    bundle = Bundle.open(path)
    with amend_bundle(bundle) as writer:
        rule = {"thresholds": thresholds_amid(bundle, labelled), "operating_points": {}}
        writer.finish({**bundle.manifest, "exit_rule": rule})
    return path


@pytest.fixture
def copied(bundle_of_all_exits, tmp_path) -> Path:
    return shutil.copytree(bundle_of_all_exits, tmp_path / "copy.tlee")


@torch.inference_mode()
def fitted(model: Tlee, listing: Listing) -> Tlee:
    """The model with a classifier that tells these videos' classes apart at every exit, by least squares."""
    clips = ClipDataset(listing, model.config.frame_spec())
    features = model.features(torch.stack([clips[(0, i)].frames for i in range(len(clips))]), range(model.exits))
    x = torch.cat([feature.flatten(0, 1) for feature in features.values()])
    names = [model.config.label_names().index(listing.classes[entry.labels[0]]) for entry in listing.entries]
    wanted = torch.eye(len(CLASSES))[names].repeat_interleave(model.config.frames.count, 0).repeat(model.exits, 1)
    mean = x.mean(0)
    scatter = (x - mean).T @ (x - mean)
    ridge = 1e-3 * scatter.trace() / len(scatter) * torch.eye(len(scatter))
    weight = 4 * torch.linalg.solve(scatter + ridge, (x - mean).T @ (wanted - wanted.mean(0))).T
    model.classifier.weight.copy_(weight)
    model.classifier.bias.copy_(-weight @ mean)
    return model


def thresholds_amid(bundle: Bundle, listing: Listing) -> dict[str, list[float]]:
    """For each exit the confidence and score that so large a share of its answers stays below."""
    chain, clips = Chain(bundle, OnnxBackend(bundle, threads=1)), ClipDataset(listing, bundle.frames)
    policy = sampling_policy(bundle, early_exit=False)
    steps = [s for i in range(len(clips)) for s in exit_steps(chain, clips[(0, i)].frames.numpy(), policy)]
    amid: dict[str, list[float]] = {"first": [], "layer": [], "gate": [], "temperature": [1.0] * bundle.exits}
    for b in range(bundle.exits):
        values = [step.values for step in steps if step.exit == b]
        confidences = [v.confidence for v in values]
        scores = [v.score for v in values if v.score is not None]
        amid["first"].append(float(np.quantile(confidences, 0.9)))
        amid["layer"].append(float(np.quantile(confidences, 0.6)))
        amid["gate"].append(float(np.quantile(scores, 0.8)))
    return amid


@pytest.fixture(scope="session")
def bars(tmp_path_factory) -> list[Path]:
    """Sixty-four short videos, each on brighter ground than the one before, of no class yet."""
    folder = tmp_path_factory.mktemp("bars")
    return [write_clip(folder / f"{i:02}.mp4", frames=6 + i % 5, grey=4 * i) for i in range(64)]


@pytest.fixture(scope="session")
def bar_clips(bars) -> np.ndarray:
    """(64, 4, 32, 32, 3) uint8: their frames."""
    listing = Listing([Entry(path, (0,)) for path in bars], SMALL["labels"], flips=False, notes=[])
    clips = ClipDataset(listing, small_model().config.frame_spec())
    return np.stack([clips[(0, i)].frames.numpy() for i in range(len(clips))])


@pytest.fixture(scope="session")
def lively_bundle(tmp_path_factory, bar_clips):
    """Builds the bundle of a model that names all classes for the bars, at confidences and scores of all sizes; the
    same one for the same parts."""

    @functools.cache
    def build(frames: int = 4, **parts) -> Bundle:
        folder = tmp_path_factory.mktemp("lively")
        model = enliven(small_model(model={**SMALL["model"], **parts}, frames={**SMALL["frames"], "count": frames}))
        spread(model, torch.from_numpy(bar_clips[::4, :frames]))
        save_checkpoint(folder / "small.safetensors", model)
        return export_bundle(model, folder / "small.tlee", folder / "small.safetensors", verified=False)

    return build


@torch.inference_mode()
def spread(model: Tlee, clips: torch.Tensor) -> None:
    """Give every exit's features the mean of the tail's, and classifier and gate outputs of mean 0 and deviation 1.5
    on these clips."""
    tail = model.exits - 1
    features = model.features(clips, range(model.exits))
    for b, branch in enumerate(model.branches):
        branch.project.bias += (features[tail] - features[b]).mean((0, 1))
    policy = ExitPolicy(clips.shape[1], Thresholds.of(model.exits, 2, 2, 2))
    steps = [step for clip in clips for step in exit_steps(TorchStages(model), clip, policy)]
    per_frame = model.config.model.heads == "per_frame"
    outputs = []
    for t in range(clips.shape[1] if per_frame else 1):
        values = [step.values for step in steps if not per_frame or step.frame == t]
        outputs.append((model.classifier[t] if per_frame else model.classifier, torch.cat([v.logits for v in values])))
        scores = [[v.score] for v in values if v.score is not None]
        if scores:
            gate, sign = (model.gate[t - 1], -1) if per_frame else (model.gate, 1)
            outputs.append((gate.decide, sign * torch.tensor(scores).logit()))
    for layer, given in outputs:
        scale = 1.5 / given.std(0)
        layer.weight *= scale[:, None]
        layer.bias.copy_(scale * (layer.bias - given.mean(0)))


@pytest.fixture(scope="session")
def answered_videos(tmp_path_factory, lively_bundle, bars, bar_clips) -> Path:
    """The bars in a folder per class, most under what the lively model says without exits, every third under what an
    early branch says: so no exit is right about all of them."""
    bundle, root = lively_bundle(), tmp_path_factory.mktemp("answered")
    chain = Chain(bundle, OnnxBackend(bundle, threads=1))
    never = Thresholds.of(bundle.exits, 2, 2, 2)
    for i, (path, clip) in enumerate(zip(bars, bar_clips)):
        only = {0: 0, 3: 1}.get(i % 6, 2)
        *_, last = exit_steps(chain, clip, ExitPolicy(4, never, frame_exit=False, only=only))
        folder = root / bundle.labels[chain.array(last.values.logits)[0].argmax()]
        folder.mkdir(exist_ok=True)
        os.link(path, folder / path.name)
    return root


@pytest.fixture(scope="module")
def short_search():
    """How good a search is, test_search.py says. Elsewhere any front will do."""
    with pytest.MonkeyPatch.context() as patch:
        for name, size in {"GENERATIONS": 10, "OFFSPRING": 500, "START": 2000}.items():
            patch.setattr(search, name, size)
        yield
