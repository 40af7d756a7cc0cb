"""ImageNet weights from torchvision."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from tlee.errors import CheckpointError, UsageError
from tlee.models.backbones.spec import Rename
from tlee.models.pickled import read_state


def torchvision_weights(name: str, *renames: Rename) -> Callable[[], Mapping[str, Tensor]]:
    """A function that fetches torchvision's default weights of a model, once, into torch's cache.

    Args:
        name: torchvision's name of the model.
        renames: from its entries to ours; the first that matches counts, entries without a match are left out.
    """
    return partial(_fetch, name, renames)


def _fetch(name: str, renames: tuple[Rename, ...]) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / Path(weights.url).name
    try:
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            hash_prefix = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(weights.url, str(file), hash_prefix)
        state = read_state(file)
    except (OSError, RuntimeError, ValueError, CheckpointError) as error:  # no network; or a damaged file
        reason = error.problem if isinstance(error, CheckpointError) else error
        remedy = f"put {weights.url} into {folder}, or train from random weights (init: random)"
        raise UsageError(name, f"its ImageNet weights cannot be fetched ({reason})", remedy) from None
    found = {}
    for entry, tensor in state.items():
        for pattern, replacement in renames:
            if re.match(pattern, entry):
                found[re.sub(pattern, replacement, entry, count=1)] = tensor
                break
    return found
