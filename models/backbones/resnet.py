"""ResNet-18, 34 and 50: all of torchvision's children but the classifier; the average pool is the last of them."""

from __future__ import annotations

from functools import partial

import torchvision
from torch import nn

from tlee.models.backbones.spec import BackboneSpec, flatten, torchvision_weights

IMAGENET_NAMES = (
    (r"conv1\.", "features.0."),
    (r"bn1\.", "features.1."),
    *((rf"layer{i}\.", f"features.{i + 3}.") for i in range(1, 5)),
)


def _features(name: str, width: float) -> nn.Sequential:
    return nn.Sequential(*list(torchvision.models.get_model(name).children())[:-1])


RESNETS = {
    name: BackboneSpec(
        partial(_features, name),
        cuts=(5, 6, 7),
        tail=flatten,
        imagenet=torchvision_weights(name, *IMAGENET_NAMES),
    )
    for name in ("resnet18", "resnet34", "resnet50")
}
