"""Recipes: what a training does where its configuration leaves that open.

`default` was found by measurement on one small set of real actions (figures: docs/real-video.md): all exits learn
together and each alone, first on single frames, where an epoch is cheap, then on whole videos, then the gate.
ImageNet's batch norm statistics are kept, and branches see the structure of their map.
`published` is the order of the published code: backbone, branches, gate; epochs and schedules
are ours, since each published file has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

DEFAULT, PUBLISHED = "default", "published"
Content = dict[str, Any]  # of a configuration file, or a part of it

FINE_TUNED = {"learning_rate": 0.01, "head_rate": 10.0, "freeze_norm": True}
SMOOTH = {"schedule": "cosine", "warmup": 1.0, "clip": 5.0}


def completed(content: Content) -> Content:
    """A configuration with its recipe's choices where it has none of its own.

    Raises:
        ValueError: no such recipe.
    """
    name = content.get("recipe", DEFAULT)
    if name not in RECIPES:
        raise ValueError(f"recipe '{name}' is not known; choose of {', '.join(RECIPES)}")
    return RECIPES[name](content)


def _default(content: Content) -> Content:
    model, data = (dict(_section(content, name)) for name in ("model", "data"))
    if content.get("stages") is None:
        fresh = content.get("init") == "random"
        start: Content = {"epochs": 30, "least_steps": 2000, "batch": 16, **FINE_TUNED}
        if fresh:
            start = {"epochs": 60, "least_steps": 3000, "batch": 64, "learning_rate": 0.05}
        stages: list[Content] = [
            {"stage": "frames", **start, **SMOOTH},
            {"stage": "joint", **start, **SMOOTH, "epochs": 4, "least_steps": 0, "batch": 8, "learning_rate": 0.005},
            {"stage": "gate", "batch": 16, "epochs": 6, "learning_rate": 0.01, **SMOOTH},
        ]
        if model.get("heads") == "per_frame":  # single frames teach only the first of its classifiers
            stages = [{**stage, "epochs": 10} if stage["stage"] == "joint" else stage for stage in stages[1:]]
        content = {**content, "stages": _possible(stages, content)}
        # Only where all else is the recipe's as well: another list of stages has been tried with the defaults.
        model = {"branch": "blocks", **model}
        data["augment"] = {"crop": [0.5, 1.0], "colour": 0.2, **_section(data, "augment")}
    return {**content, "model": model, "data": data}


def _published(content: Content) -> Content:
    stages: list[Content] = [
        {"stage": "backbone", "epochs": 30, "schedule": [15, 25], "alone": False},
        {"stage": "branches", "epochs": 20, "schedule": [10, 15], "alone": False},
        {"stage": "gate", "epochs": 10, "schedule": [5], "alone": False},
    ]
    return {"stages": _possible(stages, content), **content}


def _possible(stages: list[Content], content: Content) -> list[Content]:
    """The stages that this model has something to learn in."""
    model, frames = _section(content, "model"), _section(content, "frames")
    impossible = set()
    if model.get("branches") == 0:
        impossible.add("branches")
    if model.get("gate") in ("none", "random") or frames.get("count", 10) < 3:
        impossible.add("gate")
    return [stage for stage in stages if stage["stage"] not in impossible]


def _section(content: Content, name: str) -> Content:
    """A section as it is given: keys, or an object made of them; empty where there is none, or nonsense."""
    section: Any = content.get(name)
    if isinstance(section, BaseModel):
        return section.model_dump(exclude_unset=True)
    return section if isinstance(section, dict) else {}


RECIPES: dict[str, Callable[[Content], Content]] = {DEFAULT: _default, PUBLISHED: _published}
