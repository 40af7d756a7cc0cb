"""Backbones: one file per family, `registry.py` lists them, `backbone.py` cuts them into splits."""

from tlee.models.backbones.backbone import Backbone
from tlee.models.backbones.registry import BACKBONES
from tlee.models.backbones.spec import BackboneSpec

__all__ = ["BACKBONES", "Backbone", "BackboneSpec"]
