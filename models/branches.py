"""Branches: from a feature map inside the backbone, (N, channels, m, m), to a feature, (N, feature_size).

Source: `Branch`, `ConvBranch` and `FCBranch` are those of the published TLEE code; `BlockBranch` is ours.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlee.errors import UsageError


class Branch(nn.Module):
    """The published branch: mixed pooling, channel reduction by 1x1 convolutions, one linear layer.

    Args:
        shape: (channels, m, m) of its input.
        feature_size: length of its output.
        scale: the first convolution has channels // 2**scale outputs, each further one half of the one before.
        crm_num: number of convolutions.

    Raises:
        UsageError: the reduction leaves no channel.
    """

    def __init__(self, shape: tuple[int, ...], feature_size: int, scale: int, crm_num: int) -> None:
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
        largest, mean = functional.max_pool2d(x, self.window), functional.avg_pool2d(x, self.window)
        x = self.alpha * largest + (1 - self.alpha) * mean
        for convolution in self.reduce:
            x = functional.relu(convolution(x))
        return self.project(x.flatten(1))


class ConvBranch(nn.Module):
    """Convolutions 1x1 to half of the channels, 3x3, 1x1 back, then average pooling and one linear layer.

    Raises:
        UsageError: the map is smaller than the unpadded 3x3 convolution.
    """

    def __init__(self, shape: tuple[int, ...], feature_size: int) -> None:
        super().__init__()
        channels, size, _ = shape
        if size < 3:
            problem = f"a 3x3 convolution does not fit on a map of {size} x {size}"
            raise UsageError("branch", problem, "set model.branch to crm or fc, or cut the backbone earlier")
        half = channels // 2
        self.layers = nn.Sequential(
            *_convolution(channels, half, 1), nn.ReLU(), *_convolution(half, half, 3), nn.ReLU(),
            *_convolution(half, channels, 1),
        )  # fmt: skip
        self.project = nn.Linear(channels, feature_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.layers(x).mean((2, 3)))


class FCBranch(nn.Module):
    """Average pooling, then two linear layers."""

    def __init__(self, shape: tuple[int, ...], feature_size: int, hidden: int = 1024) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(shape[0], hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, feature_size)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.mean((2, 3)))


class BlockBranch(nn.Module):
    """Blocks of a depthwise-separable network that each halve the map and double the channels, down to 4 x 4, then
    average pooling and one linear layer.

    An early map is large and its channels say little by themselves: these blocks see its structure, where the published
    kinds pool it first. They cost about as much as one block of the backbone.
    """

    def __init__(self, shape: tuple[int, ...], feature_size: int) -> None:
        super().__init__()
        channels, size, _ = shape
        blocks: list[nn.Module] = []
        while size > 4 or not blocks:
            wide = 2 * channels
            filtered = nn.Conv2d(wide, wide, 3, 2, 1, groups=wide, bias=False), nn.BatchNorm2d(wide)
            blocks += [*_convolution(channels, wide, 1), nn.ReLU(), *filtered, nn.ReLU()]
            blocks += [*_convolution(wide, wide, 1), nn.ReLU()]
            channels, size = wide, (size + 1) // 2
        self.layers = nn.Sequential(*blocks)
        self.project = nn.Linear(channels, feature_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.layers(x).mean((2, 3)))


def _convolution(ins: int, outs: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(ins, outs, kernel, bias=False), nn.BatchNorm2d(outs)


# Each takes the map's shape, the feature's length, and `crm` its scale and number of convolutions.
BRANCHES: dict[str, Callable[[tuple[int, ...], int, int, int], nn.Module]] = {
    "crm": Branch,
    "conv": lambda shape, size, scale, crm_num: ConvBranch(shape, size),
    "fc": lambda shape, size, scale, crm_num: FCBranch(shape, size),
    "blocks": lambda shape, size, scale, crm_num: BlockBranch(shape, size),
}
