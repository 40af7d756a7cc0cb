"""Gates: whether the video can stop, from an exit's feature and that of the exit before.

`forward` takes both, (N, D), after the FRM, and returns (N, 1): the logit of the probability that the video can stop.
Source: the published TLEE code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearGate(nn.Module):
    """The published `gm`: a shared linear layer on each feature, then one on both results."""

    def __init__(self, feature_size: int, hidden: int = 32) -> None:
        super().__init__()
        self.reduce = nn.Linear(feature_size, hidden)
        self.decide = nn.Linear(2 * hidden, 1)

    def forward(self, z: Tensor, previous: Tensor) -> Tensor:
        return self.decide(torch.cat([self.reduce(z), self.reduce(previous)], dim=1))


class ConvGate(nn.Module):
    """The published `eg`: two shared 1x1 convolutions on each feature, then a linear layer on both results.

    The published code applies batch norm behind the convolutions to batches of several videos, that is in training but
    not in recognition. Here it is left out of both, so that a gate is trained as it is used.
    """

    def __init__(self, feature_size: int, norm: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for ins, outs in ((feature_size, 128), (128, 64)):
            layers += [nn.Conv2d(ins, outs, 1), *([nn.BatchNorm2d(outs)] if norm else []), nn.ReLU()]
        self.reduce = nn.Sequential(*layers)
        self.decide = nn.Linear(128, 1)

    def forward(self, z: Tensor, previous: Tensor) -> Tensor:
        pair = [self.reduce(feature[:, :, None, None]).flatten(1) for feature in (z, previous)]
        return self.decide(torch.cat(pair, dim=1))


class FrameExitGate(ConvGate):
    """FrameExit's gate, one per frame: as `ConvGate`, with batch norm behind the convolutions.

    FrameExit stops where a sigmoid is *below* one half. The sign is flipped here, so that a high score stops, as with
    every gate. Source: Ghodrati et al., "FrameExit: Conditional Early Exiting for Efficient Video Recognition", 2021.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__(feature_size, norm=True)

    def forward(self, z: Tensor, previous: Tensor) -> Tensor:
        return -super().forward(z, previous)


# `random` is the ablation baseline, drawn by the exit policy; neither it nor `none` has a network.
GATES: dict[str, type[nn.Module] | None] = {"gm": LinearGate, "eg": ConvGate, "random": None, "none": None}
