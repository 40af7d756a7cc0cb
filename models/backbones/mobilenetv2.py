"""MobileNetV2, plain and with temporal shift. Source: Sandler et al. 2018; Lin et al., TSM, 2019."""

from __future__ import annotations

from dataclasses import replace

import torchvision
from torch import nn

from tlee.models.backbones.spec import BackboneSpec, torchvision_weights

# The TSM code keeps a block's layers in one list; the first block has no expansion.
TSM_NAMES = (
    (r"features\.1\.conv\.1\.", "baseModel.1.conv.3."),
    (r"features\.1\.conv\.2\.", "baseModel.1.conv.4."),
    (r"features\.(\d+)\.conv\.0\.([01])\.", r"baseModel.\1.conv.\2."),
    (r"features\.(\d+)\.conv\.1\.0\.", r"baseModel.\1.conv.3."),
    (r"features\.(\d+)\.conv\.1\.1\.", r"baseModel.\1.conv.4."),
    (r"features\.(\d+)\.conv\.2\.", r"baseModel.\1.conv.6."),
    (r"features\.(\d+)\.conv\.3\.", r"baseModel.\1.conv.7."),
)


def _features(width: float) -> nn.Sequential:
    return torchvision.models.mobilenet_v2(width_mult=width).features


PLAIN = BackboneSpec(
    _features,
    cuts=(4, 8, 12),
    imagenet=torchvision_weights("mobilenet_v2", (r"features\.", "features.")),
    scalable=True,
)
MOBILENETS = {"mobilenetv2": PLAIN, "mobilenetv2_tsm": replace(PLAIN, shifts=True, published=TSM_NAMES)}
