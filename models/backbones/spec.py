"""What the project knows of one backbone: a record that each backbone's file fills in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

Rename = tuple[str, str]  # regular expression, replacement


def pool_and_flatten(channels: int) -> nn.Sequential:
    """The usual tail: the mean of each channel is the feature."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def flatten(channels: int) -> nn.Sequential:
    """The tail of backbones whose last module pools already."""
    return nn.Sequential(nn.Flatten())


@dataclass(frozen=True)
class BackboneSpec:
    """One backbone.

    Attributes:
        features: builds the features module, with random weights, for a width multiplier.
        cuts: number of modules in front of each possible branch; with fewer branches the last cuts count.
        tail: builds what makes a feature of the last module's map of so many channels.
        imagenet: gives ImageNet weights by entry of the backbone's state dictionary; None where there are none.
            May leave out the tail's. Raises UsageError where they cannot be had.
        published: our entries (`features.…`, `tail.…`) in the published code's names, applied in order, the first
            that matches; entries that none matches are `baseModel.…`.
        scalable: whether the width multiplier means anything.
        shifts: whether residual blocks take channels from the frame before, see `shift.py`.
        size_step: the side of a frame must be a multiple of this.
    """

    features: Callable[[float], nn.Sequential]
    cuts: tuple[int, ...]
    tail: Callable[[int], nn.Sequential] = pool_and_flatten
    imagenet: Callable[[], Mapping[str, Tensor]] | None = None
    published: tuple[Rename, ...] = ()
    scalable: bool = False
    shifts: bool = False
    size_step: int = 1
