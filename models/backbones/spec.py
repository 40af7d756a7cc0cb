"""The record that describes a backbone to the project; each backbone's file fills one in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

Rename = tuple[str, str]  # regular expression, replacement


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
