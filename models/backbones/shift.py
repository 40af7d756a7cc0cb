"""Online temporal shift: some channels of a frame are those of the frame before.

Source: Lin et al., "TSM: Temporal Shift Module for Efficient Video Understanding", 2019, the uni-directional form.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

FRACTION = 8  # one channel in so many, as in the paper
# Takes the name of a shift and the channels of this frame, returns those of the frame before.
Exchange = Callable[[str, Tensor], Tensor]


class ShiftedBlock(nn.Module):
    """A residual block of MobileNetV2 whose convolutions see the first channels of the frame before.

    Args:
        block: whose weights and their names are kept.
    """

    def __init__(self, block: InvertedResidual) -> None:
        super().__init__()
        self.conv = block.conv
        self.channels = block.out_channels // FRACTION

    def kept(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, channels, H, W): the channels that the next frame takes."""
        return x[:, : self.channels]

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        """(N, C, H, W) and the channels of the frame before, to (N, C, H, W)."""
        return x + self.conv(torch.cat([previous, x[:, self.channels :]], 1))


def shift_residual_blocks(features: nn.Sequential) -> None:
    """Make every residual block a shifted one."""
    for i, module in enumerate(features):
        if isinstance(module, InvertedResidual) and module.use_res_connect:
            features[i] = ShiftedBlock(module)


def no_past(name: str, kept: Tensor) -> Tensor:
    """The exchange of a first frame: zeros."""
    return torch.zeros_like(kept)


def clip_past(frames: int) -> Exchange:
    """The exchange for whole clips, (N * frames, C, H, W): each frame gets the channels of the one before."""

    def exchange(name: str, kept: Tensor) -> Tensor:
        clips = kept.unflatten(0, (-1, frames))
        return torch.cat([torch.zeros_like(clips[:, :1]), clips[:, :-1]], 1).flatten(0, 1)

    return exchange
