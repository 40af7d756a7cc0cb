"""Checkpoints of the published TLEE code (`.pth.tar`), of FrameExit and of TSM's online models."""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor, nn

from tlee.models.backbones import BACKBONES
from tlee.models.backbones.spec import Rename, renamed
from tlee.models.checkpoint import Shapes, check_entries, shapes
from tlee.models.config import Config
from tlee.models.model import Tlee, Unfilled, check_parts
from tlee.models.tensors import read_state

# Our entries to the published names, the first that matches.
NAMES: tuple[Rename, ...] = (
    (r"backbone\.features\.", "backbone.baseModel."),
    (r"branches\.(\d+)\.reduce\.(\d+)\.", r"backbone.branches.\1.crm.conv\2."),
    (r"branches\.(\d+)\.project\.", r"backbone.branches.\1.fc1."),  # of the branch `crm`
    (r"branches\.", "backbone.branches."),
    (r"neck\.", "mlp.layers."),
    (r"classifier\.(\d+)\.", r"classifiers.\1."),
    (r"classifier\.", "classifiers.0."),
    (r"frm\.beta", "feature_func.beta"),
    (r"frm\.score\.1\.", "feature_func.testfrm.1."),
    (r"frm\.score\.3\.", "feature_func.testfrm.4."),
)
CONV_BRANCH_NAMES: tuple[Rename, ...] = ((r"branches\.(\d+)\.project\.", r"backbone.branches.\1.fc."),)
GATE_NAMES: dict[str, tuple[Rename, ...]] = {
    "gm": ((r"gate\.reduce\.", "exit_selector.0.fc1."), (r"gate\.decide\.", "exit_selector.0.fc2.")),
    "eg": (
        (r"gate\.reduce\.0\.", "exit_selector.0.conv1."),
        (r"gate\.reduce\.2\.", "exit_selector.0.conv2."),
        (r"gate\.decide\.", "exit_selector.0.linear."),
    ),
}
FRAME_GATE_NAMES: tuple[Rename, ...] = (
    (r"gate\.(\d+)\.reduce\.0\.", r"exit_selector.\1.conv1."),
    (r"gate\.(\d+)\.reduce\.1\.", r"exit_selector.\1.bn1."),
    (r"gate\.(\d+)\.reduce\.3\.", r"exit_selector.\1.conv2."),
    (r"gate\.(\d+)\.reduce\.4\.", r"exit_selector.\1.bn2."),
    (r"gate\.(\d+)\.decide\.", r"exit_selector.\1.linear."),
)
# Other projects' names for published names.
PROJECTS: dict[str, tuple[Rename, ...]] = {
    "TLEE": (),
    "FrameExit": ((r"backbone\.baseModel\.", "backbone."),),
    "TSM online": ((r"backbone\.baseModel\.", "features."), (r"classifiers\.0\.", "classifier.")),
}
# Channels of the batch norms in the gate `eg`, which recognition does not use.
EG_NORMS = {"exit_selector.0.bn1": 128, "exit_selector.0.bn2": 64}
# An ImageNet classifier that some backbones were saved with, likewise unused.
IMAGENET_CLASSIFIER = re.compile(r"backbone\.baseModel\.(fc|last_linear|classifier)\.")


def load_published(path: str | Path, config: Config) -> Tlee:
    """Read a published checkpoint into the model that `config` describes, in eval mode.

    Raises:
        CheckpointError: the file cannot be read, or is of another model: names what differs.
    """
    state = _read(path)
    outline = check_parts(path, config)  # no memory is taken for what the file lacks
    names = _names(state, outline)
    wanted = {names[ours]: shape for ours, shape in shapes(outline.state_dict()).items()}
    check_entries(path, {**wanted, **unread_entries(config)}, shapes(state))
    with Unfilled():
        model = Tlee(config)
    model.load_state_dict({ours: state[theirs] for ours, theirs in names.items()})
    return model.eval()


def published_entries(path: str | Path, model: Tlee) -> dict[str, Tensor]:
    """The entries of a published checkpoint that a model has, too, under our names, whatever their shapes.

    Raises:
        CheckpointError: the file cannot be read.
    """
    state = _read(path)
    names = _names(state, model)
    return {ours: state[theirs] for ours, theirs in names.items() if theirs in state}


def published_names(model: Tlee, backbone: tuple[Rename, ...] | None = None, project: str = "TLEE") -> dict[str, str]:
    """The published name of each of a model's entries.

    Args:
        backbone: renames of the backbone's entries; None for those of its `BackboneSpec`.
        project: a key of `PROJECTS`.
    """
    config = model.config.model
    own = BACKBONES[config.backbone].published if backbone is None else backbone
    branch = CONV_BRANCH_NAMES if config.branch == "conv" else ()
    rows = (*((rf"backbone\.{ours}", f"backbone.{theirs}") for ours, theirs in own), *branch, *NAMES)
    rows += GATE_NAMES.get(config.gate, ()) if config.heads == "shared" else FRAME_GATE_NAMES
    names = {name: renamed(name, rows) or name for name in model.state_dict()}
    return {ours: renamed(name, PROJECTS[project]) or name for ours, name in names.items()}


def _names(state: dict[str, Tensor], model: Tlee) -> dict[str, str]:
    """The names of a model's entries in a checkpoint, of the naming scheme that fits it best."""
    # Some backbones are in circulation with torchvision's names too.
    backbones = (BACKBONES[model.config.model.backbone].published, ())
    schemes = [published_names(model, backbone, project) for project in PROJECTS for backbone in backbones]
    return min(schemes, key=lambda names: len(set(names.values()) - set(state)))


def unread_entries(config: Config) -> Shapes:
    """Entries of a published checkpoint that our model lacks, since inference does not use them."""
    if config.model.gate != "eg" or config.model.heads == "per_frame":
        return {}
    norms = {norm: shapes(nn.BatchNorm2d(size).state_dict()) for norm, size in EG_NORMS.items()}
    return {f"{norm}.{entry}": shape for norm, entries in norms.items() for entry, shape in entries.items()}


def _read(path: str | Path) -> dict[str, Tensor]:
    """The state dictionary in a file, without DataParallel's prefix `module.` and the ImageNet classifier."""
    state = {name.removeprefix("module."): tensor for name, tensor in read_state(path).items()}
    return {name: tensor for name, tensor in state.items() if not IMAGENET_CLASSIFIER.match(name)}
