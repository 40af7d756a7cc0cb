"""Every backbone by name. A new one is a file in this folder and a line here."""

from __future__ import annotations

from tlee.models.backbones.bn_inception import BN_INCEPTION
from tlee.models.backbones.efficientnet import EFFICIENTNETS
from tlee.models.backbones.efficientnet_lite import EFFICIENTNET_LITES
from tlee.models.backbones.mobilenetv2 import MOBILENETS
from tlee.models.backbones.resnet import RESNETS
from tlee.models.backbones.spec import BackboneSpec
from tlee.models.backbones.vgg import VGG

BACKBONES: dict[str, BackboneSpec] = {
    **VGG,
    **BN_INCEPTION,
    **MOBILENETS,
    **EFFICIENTNETS,
    **EFFICIENTNET_LITES,
    **RESNETS,
}
