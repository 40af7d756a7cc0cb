"""Our checkpoints: safetensors files with the configuration in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor

from tlee import __version__
from tlee.errors import CheckpointError, UsageError
from tlee.models.config import Config, explain
from tlee.models.model import Tlee, Unfilled, check_parts
from tlee.models.tensors import open_tensors, write_tensors
from tlee.reading import parse_json

HEADER = "tlee"
FLOATS = ("F", "BF")  # how safetensors' names of floating point types begin
OF_ANOTHER = "give the configuration this checkpoint was trained with"
NAMES_SHOWN, NAME_SHOWN = 20, 120  # of each kind of difference, and characters
Shapes = dict[str, tuple[int, ...]]  # of a state dictionary, by entry


def save_checkpoint(path: str | Path, model: Tlee, training: Mapping[str, object] | None = None) -> None:
    """Write a model and its configuration, whole or not at all.

    Args:
        training: how the model was trained, for information only (plain JSON values).

    Raises:
        UsageError: the file cannot be written.
    """
    header = {"version": __version__, "config": model.config.model_dump(), "training": training or {}}
    write_tensors(path, model.state_dict(), {HEADER: json.dumps(header)})


def load_checkpoint(path: str | Path) -> Tlee:
    """Read a model that `save_checkpoint` wrote, in eval mode.

    Raises:
        CheckpointError: the file cannot be read, is no checkpoint of ours, or does not fit its configuration.
    """
    with open_tensors(path) as file:
        header = (file.metadata() or {}).get(HEADER)
        if header is None:
            raise CheckpointError(path, "safetensors without a tlee configuration", "give a file that tlee-train wrote")
        try:
            config = Config(**parse_json(header.encode())["config"])
            expected = check_parts(path, config).state_dict()  # no memory is taken for what the file lacks
        except UsageError as error:
            raise CheckpointError(path, f"its configuration does not fit: {error.problem}", error.remedy) from None
        except (ValueError, KeyError, TypeError) as error:
            reason = explain(error) if isinstance(error, ValidationError) else error
            raise CheckpointError(path, f"its configuration does not fit: {reason}", "train or save it again") from None
        entries = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, the file is no dictionary
        check_entries(path, shapes(expected), {name: tuple(entry.get_shape()) for name, entry in entries.items()})
        # Any floating point will do, the model computes in its own.
        types = {name: entry.get_dtype() for name, entry in entries.items()}
        odd = [n for n, own in expected.items() if types[n].startswith(FLOATS) != own.dtype.is_floating_point]
        if odd:
            problem = f"entries of another type ({_some([f'{name} {types[name]}' for name in odd])})"
            raise CheckpointError(path, problem, "save it again in float32")
        with Unfilled():
            model = Tlee(config)
        model.load_state_dict({name: file.get_tensor(name) for name in entries})
    return model.eval()


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    """The shape of every entry of a state dictionary."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_entries(path: str | Path, wanted: Shapes, given: Shapes, remedy: str = OF_ANOTHER) -> None:
    """Compare a state dictionary with the expected one.

    Raises:
        CheckpointError: entries are missing, unknown or of another shape; lists them.
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
