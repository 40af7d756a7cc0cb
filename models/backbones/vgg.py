"""VGG-16 with batch norm. Source: Simonyan and Zisserman 2015; torchvision's layer names."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.vgg import make_layers

from tlee.models.backbones.spec import BackboneSpec, torchvision_weights

# M is a pool.
CHANNELS: list[int | str] = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]


def _features(width: float) -> nn.Sequential:
    scaled = [max(8, round(c * width / 8) * 8) if isinstance(c, int) else c for c in CHANNELS]
    return make_layers(scaled, batch_norm=True)


def _tail(channels: int) -> nn.Sequential:
    """The published tail: two hidden layers as in VGG-16's own classifier, then 512 numbers (at full width)."""
    hidden = channels * 8
    layers = nn.Sequential(
        nn.Linear(channels * 49, hidden),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, channels),
    )
    return nn.Sequential(OrderedDict(pool=nn.AdaptiveAvgPool2d(7), flatten=nn.Flatten(), layers=layers))


VGG = {
    "vgg16": BackboneSpec(
        _features,
        cuts=(14, 24, 34),
        tail=_tail,
        imagenet=torchvision_weights(
            "vgg16_bn", (r"features\.", "features."), (r"classifier\.([03])\.", r"tail.layers.\1.")
        ),
        published=((r"tail\.layers\.", "fc_layer."),),
        scalable=True,
        # ONNX knows the pool to 7 x 7 only where it comes out even.
        size_step=224,
    )
}
