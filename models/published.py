"""Checkpoints of the published TLEE code (`.pth.tar`). Only tensors and plain values are ever unpickled."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tlee.errors import CheckpointError
from tlee.models.checkpoint import check_readable, load_weights
from tlee.models.config import Config
from tlee.models.model import Tlee

# Published name to ours, the first that matches.
RENAMES = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"backbone\.baseModel\.", r"backbone.features."),
        (r"backbone\.branches\.(\d+)\.crm\.conv(\d+)\.", r"branches.\1.reduce.\2."),
        (r"backbone\.branches\.(\d+)\.fc1\.", r"branches.\1.project."),
        (r"backbone\.branches\.(\d+)\.alpha$", r"branches.\1.alpha"),
        (r"mlp\.layers\.", r"neck."),
        (r"classifiers\.0\.", r"classifier."),
        (r"exit_selector\.0\.fc1\.", r"gate.reduce."),
        (r"exit_selector\.0\.fc2\.", r"gate.decide."),
    )
]


def load_published(path: str | Path, config: Config) -> Tlee:
    """Read a published checkpoint into the model that `config` describes, in eval mode.

    Raises:
        CheckpointError: the file cannot be read, holds objects other than tensors and plain values, or is of
            another model.
    """
    check_readable(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is said below, once
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "give a .pth.tar of the published code, saved again with tensors and plain values only"
        raise CheckpointError(path, f"not a checkpoint that can be read safely ({reason[:120]})", remedy) from None
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(path, "no state_dict of tensors inside", "give a .pth.tar of the published code")
    model = Tlee(config)
    load_weights(path, model, rename(state))
    return model.eval()


def rename(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published state-dict names to ours; a `module.` that DataParallel put in front is taken off.

    Example:
        >>> list(rename({"module.classifiers.0.bias": torch.zeros(2)}))
        ['classifier.bias']
    """
    return {_rename(name.removeprefix("module.")): tensor for name, tensor in state.items()}


def _rename(name: str) -> str:
    for pattern, replacement in RENAMES:
        if pattern.match(name):
            return pattern.sub(replacement, name)
    return name
