"""Our checkpoints: one safetensors file, the configuration in its header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from tlee import __version__
from tlee.errors import CheckpointError, UsageError
from tlee.files import atomic_write
from tlee.models.config import Config, parse_config
from tlee.models.model import Tlee, Unfilled, check_parts
from tlee.models.tensors import TensorFile
from tlee.reading import parse_json

HEADER = "tlee"
OF_ANOTHER = "give the configuration this checkpoint was trained with"
NAMES_SHOWN, NAME_SHOWN = 20, 120  # of each kind of difference, and characters
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
    with atomic_write(os.fspath(path), "wb") as stream:
        stream.write(content)


def load_checkpoint(path: str | Path) -> Tlee:
    """Read a model that `save_checkpoint` wrote, in eval mode.

    Raises:
        CheckpointError: the file cannot be read, is no checkpoint of ours, or does not fit its configuration.
    """
    with TensorFile(path) as file:
        config = _config(path, file.metadata)
        sketch = _sketch(path, config).state_dict()  # nothing is made of a size that the file has not
        check_entries(path, shapes(sketch), file.shapes)
        # Whatever floating point it was trained in; the model computes in its own.
        odd = [n for n, own in sketch.items() if file.dtypes[n].is_floating_point != own.dtype.is_floating_point]
        if odd:
            problem = f"entries of another type ({_some([f'{name} {file.dtypes[name]}' for name in odd])})"
            raise CheckpointError(path, problem, "save it again in float32")
        with Unfilled():
            model = Tlee(config)
        model.load_state_dict(file.tensors())
    return model.eval()


def _config(path: str | Path, metadata: Mapping[str, str]) -> Config:
    if HEADER not in metadata:
        raise CheckpointError(path, "safetensors without a tlee configuration", "give a file that tlee-train wrote")
    try:
        about = parse_json(metadata[HEADER].encode())
        return parse_config(json.dumps(about["config"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(path, f"its configuration does not fit: {error}", "train or save it again") from None


def _sketch(path: str | Path, config: Config) -> Tlee:
    try:
        return check_parts(path, config)
    except UsageError as error:
        raise CheckpointError(path, f"its configuration does not fit: {error.problem}", error.remedy) from None


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of every entry of a state dictionary."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_entries(path: str | Path, wanted: Shapes, given: Shapes, remedy: str = OF_ANOTHER) -> None:
    """Refuse a state dictionary that is not, entry by entry, the wanted one.

    Args:
        remedy: what the user should do.

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
        raise CheckpointError(path, f"of another model: {', '.join(found)}", remedy)


def _some(names: list[str]) -> str:
    return ", ".join(name[:NAME_SHOWN] for name in names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
