"""Heads with weights per frame (FrameExit's) as segments: the weights of all frames are stacked, and `position`, the
frame's place in processing order, selects. So one segment or fused exit serves every frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import fusion


class FrameLinear(nn.Module):
    """A linear layer per frame.

    Args:
        layers: one per frame, with weight (out, in) or that of a 1x1 convolution, and bias (out,).
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        super().__init__()
        weights, biases = zip(*((layer.weight.flatten(1), layer.bias) for layer in layers))
        self.weight = nn.Parameter(torch.stack(weights), requires_grad=False)
        self.bias = nn.Parameter(torch.stack(biases), requires_grad=False)

    def forward(self, x: Tensor, frame: Tensor) -> Tensor:
        """(N, in) and int32 (N,), each from 0, to (N, out)."""
        product = self.weight.index_select(0, frame) @ x.unsqueeze(2)
        return product.squeeze(2) + self.bias.index_select(0, frame)


class FrameClassifier(nn.Module):
    """The classifiers of all frames."""

    def __init__(self, classifiers: nn.ModuleList) -> None:
        super().__init__()
        self.linear = FrameLinear(classifiers)

    def forward(self, z: Tensor, position: Tensor) -> Tensor:
        """(N, D) and (N, 1) to (N, K)."""
        return self.linear(z, position.squeeze(1).int())


class FrameGate(nn.Module):
    """The gates of all frames, their batch norms folded into the convolutions, which on features are linear layers.

    The first frame has none; the second's stands in there, where the score is not read.
    """

    def __init__(self, gates: nn.ModuleList) -> None:
        super().__init__()
        of_frames = [gates[0], *gates]
        self.wide = FrameLinear(_folded(gate.reduce, 0) for gate in of_frames)
        self.narrow = FrameLinear(_folded(gate.reduce, 3) for gate in of_frames)
        self.decide = FrameLinear(gate.decide for gate in of_frames)

    def forward(self, z: Tensor, previous: Tensor, position: Tensor) -> Tensor:
        """Two (N, D) and (N, 1) to the logits, (N, 1); the sign as in `tlee.models.gates.FrameExitGate`."""
        frame = position.squeeze(1).int()
        pair = [self.narrow(self.wide(x, frame).relu(), frame).relu() for x in (z, previous)]
        return -self.decide(torch.cat(pair, dim=1), frame)


def _folded(reduction: Any, layer: int) -> nn.Conv2d:
    """A convolution of a gate with the batch norm behind it."""
    return fusion.fuse_conv_bn_eval(reduction[layer], reduction[layer + 1])
