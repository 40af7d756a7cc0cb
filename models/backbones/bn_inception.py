"""BN-Inception (Ioffe and Szegedy 2015) in the layer names and the pooling of its public Caffe weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tlee.models.backbones.spec import BackboneSpec, flatten

# Channels of each block: 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool projection.
# Blocks without the first and last have stride 2 and concatenate the pool's output as it is.
BLOCKS = {
    "3a": (64, 64, 64, 64, 96, 32),
    "3b": (64, 64, 96, 64, 96, 64),
    "3c": (0, 128, 160, 64, 96, 0),
    "4a": (224, 64, 96, 96, 128, 128),
    "4b": (192, 96, 128, 96, 128, 128),
    "4c": (160, 128, 160, 128, 160, 128),
    "4d": (96, 128, 192, 160, 192, 128),
    "4e": (0, 128, 192, 192, 256, 0),
    "5a": (352, 192, 320, 160, 224, 128),
    "5b": (352, 192, 320, 192, 224, 128),
}


class ConvUnits(nn.Module):
    """Convolutions `name`, each with a batch norm `name_bn` and ReLU."""

    def add(self, name: str, ins: int, outs: int, kernel: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(ins, outs, kernel, stride, kernel // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(outs))

    def unit(self, name: str, x: Tensor) -> Tensor:
        return torch.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)))


class Stem(ConvUnits):
    """Units in a row, then a pool of stride 2."""

    def __init__(self, *units: tuple[str, int, int, int, int]) -> None:
        super().__init__()
        self.names = [name for name, *_ in units]
        for unit in units:
            self.add(*unit)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the last unit's channels, half of its side."""
        for name in self.names:
            x = self.unit(name, x)
        return self.pool(x)


class Inception(ConvUnits):
    """One block: up to four paths side by side, the last behind a pool."""

    def __init__(self, name: str, ins: int) -> None:
        super().__init__()
        one, reduce, three, double_reduce, double, projection = BLOCKS[name]
        stride = 1 if one else 2
        self.paths = [
            [("1x1", ins, one, 1, 1)] if one else [],
            [("3x3_reduce", ins, reduce, 1, 1), ("3x3", reduce, three, 3, stride)],
            [
                ("double_3x3_reduce", ins, double_reduce, 1, 1),
                ("double_3x3_1", double_reduce, double, 3, 1),
                ("double_3x3_2", double, double, 3, stride),
            ],
            [("pool_proj", ins, projection, 1, 1)] if projection else [],
        ]
        self.prefix = f"inception_{name}_"
        for unit, *shape in sum(self.paths, []):
            self.add(self.prefix + unit, *shape)
        kind = nn.AvgPool2d if projection and name != "5b" else nn.MaxPool2d
        self.pool = kind(3, stride, 2 - stride, ceil_mode=stride == 2)
        self.outs = one + three + double + (projection or ins)

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        starts = [x, x, x, self.pool(x)]
        outputs = []
        for y, units in zip(starts, self.paths):
            if not units and y is x:
                continue  # a path without units is left out, unless it is the pool's
            for name, *_ in units:
                y = self.unit(self.prefix + name, y)
            outputs.append(y)
        return torch.cat(outputs, 1)


def _features(width: float) -> nn.Sequential:
    modules: list[nn.Module] = [
        Stem(("conv1_7x7_s2", 3, 64, 7, 2)),
        Stem(("conv2_3x3_reduce", 64, 64, 1, 1), ("conv2_3x3", 64, 192, 3, 1)),
    ]
    channels = 192
    for name in BLOCKS:
        block = Inception(name, channels)
        modules.append(block)
        channels = block.outs
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1))


BN_INCEPTION = {
    "bn_inception": BackboneSpec(
        _features, cuts=(2, 5, 10), tail=flatten, published=((r"features\.\d+\.", "baseModel."),)
    )
}
