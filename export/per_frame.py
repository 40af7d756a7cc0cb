"""Heads of which each frame has its own (FrameExit's) as segments: all frames' weights stacked, and `position`, the
frame's place in processing order, picks. So a segment or unit serves every frame, and a weight is stored once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import fusion

from tlee.models.gates import FrameExitGate


class FrameLinear(nn.Module):
    """A linear layer of each frame.

    Args:
        weights: of each frame (out, in).
        biases: of each frame (out,).
    """

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack(list(weights)), requires_grad=False)
        self.bias = nn.Parameter(torch.stack(list(biases)), requires_grad=False)

    def forward(self, x: Tensor, frame: Tensor) -> Tensor:
        """(N, in) and int32 (N,), each from 0, to (N, out)."""
        product = self.weight.index_select(0, frame) @ x.unsqueeze(2)
        return product.squeeze(2) + self.bias.index_select(0, frame)


class FrameClassifier(nn.Module):
    """The classifiers of all frames."""

    def __init__(self, classifiers: nn.ModuleList) -> None:
        super().__init__()
        self.linear = FrameLinear([c.weight for c in classifiers], [c.bias for c in classifiers])

    def forward(self, z: Tensor, position: Tensor) -> Tensor:
        """(N, D) and (N, 1) to (N, K)."""
        return self.linear(z, _frame(position))


class FrameGate(nn.Module):
    """The gates of all frames, their batch norms folded into the convolutions, which on features are linear layers.

    The first frame has none; there, where nobody reads the score, that of the second answers.
    """

    def __init__(self, gates: nn.ModuleList) -> None:
        super().__init__()
        stacked = [gates[0], *gates]
        self.wide, self.narrow = _folded(stacked, 0), _folded(stacked, 3)
        # The sign, as in `FrameExitGate`.
        self.decide = FrameLinear([-g.decide.weight for g in stacked], [-g.decide.bias for g in stacked])

    def forward(self, z: Tensor, previous: Tensor, position: Tensor) -> Tensor:
        """Two (N, D) and (N, 1) to the logits, (N, 1)."""
        frame = _frame(position)
        pair = [self.narrow(self.wide(x, frame).relu(), frame).relu() for x in (z, previous)]
        return self.decide(torch.cat(pair, dim=1), frame)


def _folded(gates: Sequence[FrameExitGate], layer: int) -> FrameLinear:
    """The convolution `layer` of each gate's reduction with the batch norm behind it."""
    pairs = [(gate.reduce[layer], gate.reduce[layer + 1]) for gate in gates]
    layers = [fusion.fuse_conv_bn_eval(convolution, norm) for convolution, norm in pairs]
    return FrameLinear([one.weight.flatten(1) for one in layers], [one.bias for one in layers])


def _frame(position: Tensor) -> Tensor:
    return position.squeeze(1).int()
