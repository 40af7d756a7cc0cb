"""Backbones and where they are cut. A backbone is one row of data and at most one short function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn


@dataclass(frozen=True)
class BackboneSpec:
    """One backbone.

    Attributes:
        features: builds the features module for a width multiplier.
        cuts: number of modules in front of each possible branch; with fewer branches the last cuts count.
        scalable: whether the width multiplier means anything.
    """

    features: Callable[[float], nn.Sequential]
    cuts: tuple[int, ...]
    scalable: bool = False


def _mobilenetv2(width: float) -> nn.Sequential:
    return torchvision.models.mobilenet_v2(width_mult=width).features


def _resnet18(width: float) -> nn.Sequential:
    # All children but the classifier: the average pool is the last of them.
    return nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])


BACKBONES = {
    "mobilenetv2": BackboneSpec(_mobilenetv2, cuts=(4, 8, 12), scalable=True),
    "resnet18": BackboneSpec(_resnet18, cuts=(5, 6, 7)),
}


class Backbone(nn.Module):
    """The features of a 2D CNN, cut into `branches + 1` splits.

    Args:
        name: a key of `BACKBONES`.
        branches: how many exits sit before the tail, 1 to 3.
        input_size: side of a frame, pixels.

    Attributes:
        cuts: number of modules in front of each branch.
        shapes: (channels, height, width) of each split's output.
    """

    def __init__(self, name: str, branches: int, input_size: int, width: float = 1.0) -> None:
        super().__init__()
        spec = BACKBONES[name]
        self.features = spec.features(width)
        self.cuts = spec.cuts[-branches:]
        self.tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.shapes = self._shapes(input_size)

    @property
    def feature_size(self) -> int:
        """Length of the tail's feature."""
        return self.shapes[-1][0]

    def split_modules(self, index: int) -> list[nn.Module]:
        """The modules of split `index`."""
        bounds = (0, *self.cuts, len(self.features))
        return list(self.features)[bounds[index] : bounds[index + 1]]

    def split(self, index: int, x: Tensor) -> Tensor:
        """Run split `index` on the output of the one before, or on a normalised (N, 3, H, W) frame."""
        for module in self.split_modules(index):
            x = module(x)
        return x

    def _shapes(self, input_size: int) -> list[tuple[int, int, int]]:
        probe = copy.deepcopy(self).to("meta").eval()
        x = torch.empty(1, 3, input_size, input_size, device="meta")
        shapes = []
        for index in range(len(self.cuts) + 1):
            x = probe.split(index, x)
            shapes.append((x.shape[1], x.shape[2], x.shape[3]))
        return shapes
