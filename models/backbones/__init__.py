"""Backbones: one file per family; `backbone.py` lists them and cuts them into splits."""

from tlee.models.backbones.backbone import BACKBONES, Backbone

__all__ = ["BACKBONES", "Backbone"]
