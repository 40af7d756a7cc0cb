"""The backbone of a trained model by itself, to compare early exits with."""

from __future__ import annotations

from tlee.models.config import ExitConfig
from tlee.models.model import Tlee


def plain(model: Tlee) -> Tlee:
    """A model of the same weights without branches, feature reuse and gate: every frame runs through one uncut backbone
    to the classifier."""
    parts = {"branches": 0, "cuts": None, "frm": "none", "gate": "none"}
    whole = {"name": f"{model.config.name}-plain", "exits": ExitConfig()}
    config = model.config.model_copy(update={**whole, "model": model.config.model.model_copy(update=parts)})
    bare = Tlee(config)
    weights = model.state_dict()
    bare.load_state_dict({name: weights[name] for name in bare.state_dict()})
    return bare.eval()
