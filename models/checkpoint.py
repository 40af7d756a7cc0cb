"""Our checkpoints: one safetensors file, the configuration in its header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from tlee import __version__
from tlee.errors import CheckpointError
from tlee.files import whole_file
from tlee.models.config import parse_config
from tlee.models.model import Tlee

HEADER = "tlee"
NAMES_SHOWN = 20  # of each kind of difference
Shapes = dict[str, tuple[int, ...]]  # of a state dictionary, by entry


def save_checkpoint(path: str | Path, model: Tlee, training: Mapping[str, object] | None = None) -> None:
    """Write a model and its configuration, whole or not at all.

    Args:
        training: what the model went through, kept for the reader (plain JSON values).

    Raises:
        UsageError: the file cannot be written.
    """
    header = {
        HEADER: json.dumps({"version": __version__, "config": model.config.model_dump(), "training": training or {}})
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    content = safetensors.torch.save(tensors, header)
    with whole_file(os.fspath(path), "wb") as stream:
        stream.write(content)


def load_checkpoint(path: str | Path) -> Tlee:
    """Read a model that `save_checkpoint` wrote, in eval mode.

    Raises:
        CheckpointError: the file cannot be read, is no checkpoint of ours, or does not fit its configuration.
    """
    check_readable(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (safetensors.SafetensorError, OSError) as error:
        remedy = "give a .safetensors file that tlee-train wrote, or a published .pth.tar with --config"
        raise CheckpointError(path, f"not a checkpoint ({error})", remedy) from None
    if HEADER not in header:
        raise CheckpointError(path, "safetensors without a tlee configuration", "give a file that tlee-train wrote")
    try:
        model = Tlee(parse_config(json.dumps(json.loads(header[HEADER])["config"])))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(path, f"its configuration does not fit: {error}", "train or save it again") from None
    check_entries(path, shapes(model.state_dict()), shapes(tensors))
    model.load_state_dict(tensors)
    return model.eval()


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of every entry of a state dictionary."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_entries(path: str | Path, wanted: Shapes, given: Shapes) -> None:
    """Refuse a state dictionary that is not, entry by entry, the wanted one.

    Raises:
        CheckpointError: entries are missing, unknown or of another shape; lists what differs.
    """
    differences = [
        ("missing", [n for n in wanted if n not in given]),
        ("unknown", [n for n in given if n not in wanted]),
        ("misshapen", [f"{n} {given[n]} not {wanted[n]}" for n in wanted if n in given and given[n] != wanted[n]]),
    ]
    found = [f"{len(names)} {kind} ({_some(names)})" for kind, names in differences if names]
    if found:
        remedy = "give the configuration this checkpoint was trained with"
        raise CheckpointError(path, f"of another model: {', '.join(found)}", remedy)


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def check_readable(path: str | Path) -> None:
    try:
        with open(path, "rb") as stream:
            if not stream.read(1):
                raise CheckpointError(path, "the file is empty", "copy or train it again")
    except OSError as error:
        raise CheckpointError(path, str(error.strerror), "check the path") from None
