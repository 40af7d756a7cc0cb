"""Branches: from a map inside the backbone to the feature that all exits share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlee.errors import UsageError


class Branch(nn.Module):
    """The published branch: mixed pooling, channel reduction by 1x1 convolutions, one linear layer.

    Args:
        shape: (channels, m, m) of the map it reads.
        feature_size: length of the feature it gives.
        scale: the first convolution leaves channels // 2**scale, each further one half of that.
        crm_num: number of convolutions.

    Raises:
        UsageError: the reduction leaves no channel.
    """

    def __init__(self, shape: tuple[int, int, int], feature_size: int, scale: int, crm_num: int) -> None:
        super().__init__()
        channels, size, _ = shape
        self.window = size // max(1, size // 4)
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        widths = [channels] + [channels // 2 ** (scale + i) for i in range(crm_num)]
        if widths[-1] == 0:
            problem = f"{crm_num} reductions from scale {scale} leave nothing of {channels} channels"
            raise UsageError("branch", problem, "lower model.branch_scale or model.crm_num in the configuration")
        self.reduce = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(widths, widths[1:]))
        self.project = nn.Linear(widths[-1] * (size // self.window) ** 2, feature_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, m, m) to (N, feature_size)."""
        x = self.alpha * functional.max_pool2d(x, self.window) + (1 - self.alpha) * functional.avg_pool2d(
            x, self.window
        )
        for convolution in self.reduce:
            x = functional.relu(convolution(x))
        return self.project(x.flatten(1))
