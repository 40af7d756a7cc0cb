"""The record that describes a backbone to the project, which each backbone's file fills in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from tlee.errors import CheckpointError, UsageError
from tlee.models.tensors import read_state

Rename = tuple[str, str]  # regular expression, replacement


def renamed(name: str, renames: Iterable[Rename]) -> str | None:
    """A name after the first rename that matches its beginning; None if none does."""
    for pattern, replacement in renames:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return None


def pool_and_flatten(channels: int) -> nn.Sequential:
    """The usual tail: average pooling."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def flatten(channels: int) -> nn.Sequential:
    """The tail of backbones whose last module is a pool."""
    return nn.Sequential(nn.Flatten())


@dataclass(frozen=True)
class BackboneSpec:
    """One backbone.

    Attributes:
        features: builds the features module, with random weights, for a width multiplier.
        cuts: number of modules in front of each possible branch; with fewer branches the last ones are used.
        tail: builds the layers from the last module's output, of the given number of channels, to the feature.
        imagenet: returns ImageNet weights by entry of the backbone's state dictionary, possibly without the tail's;
            None if there are none. Raises UsageError if they cannot be had.
        published: renames of our entries (`features.…`, `tail.…`) to the published code's; the first that matches
            counts, entries without a match are `baseModel.…`.
        scalable: whether it has a width multiplier.
        shifts: whether residual blocks take channels from the frame before, see `shift.py`.
        size_step: a frame's side must be a multiple of this.
    """

    features: Callable[[float], nn.Sequential]
    cuts: tuple[int, ...]
    tail: Callable[[int], nn.Sequential] = pool_and_flatten
    imagenet: Callable[[], Mapping[str, Tensor]] | None = None
    published: tuple[Rename, ...] = ()
    scalable: bool = False
    shifts: bool = False
    size_step: int = 1


def torchvision_weights(name: str, *renames: Rename) -> Callable[[], Mapping[str, Tensor]]:
    """A function that fetches torchvision's default weights of a model, once, into torch's cache.

    Args:
        name: torchvision's name of the model.
        renames: from its entries to ours; the first that matches counts, entries without a match are left out.
    """

    def fetch() -> dict[str, Tensor]:
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
        return {own: tensor for entry, tensor in state.items() if (own := renamed(entry, renames))}

    return fetch
