"""EfficientNet-B0 to B7 of torchvision's blocks. Source: Tan and Le 2019."""

from __future__ import annotations

from functools import partial

from torch import nn
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from tlee.models.backbones.spec import BackboneSpec, torchvision_weights

STEM = 32  # channels
# Of B0, stage by stage: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Channels and blocks as multiples of B0's.
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))


def _features(size: int, width: float) -> nn.Sequential:
    channels, depth = SCALES[size]
    ins = [STEM, *(stage[-1] for stage in STAGES)]
    stages = [
        MBConvConfig(expansion, kernel, stride, ins[i], outs, blocks, channels * width, depth)
        for i, (blocks, kernel, stride, expansion, outs) in enumerate(STAGES)
    ]
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01) if size >= 5 else nn.BatchNorm2d
    return EfficientNet(stages, dropout=0.0, num_classes=1, norm_layer=norm).features


EFFICIENTNETS = {
    f"efficientnet_b{size}": BackboneSpec(
        partial(_features, size),
        cuts=(2, 4, 6),
        imagenet=torchvision_weights(f"efficientnet_b{size}", (r"features\.", "features.")),
        scalable=True,
    )
    for size in range(len(SCALES))
}
