"""The training that a published configuration file describes, in the keys of our training configurations.

Source: the published training modes, section "Training, as published" of its description: 1 trains all but the gate
together; 1.1 the backbone, then branches for twice the epochs; 2 the gate, from the best checkpoint of `test_path`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tlee.data.labelled.listing import FORMATS
from tlee.models.published_config import own_keys
from tlee.models.published_schema import Data, PublishedConfig
from tlee.training.recipes import PUBLISHED

EPOCHS = 25  # where the file has none: the number in most of the published files
GATE_EPOCHS = 3
BATCH, GATE_BATCH = 8, 256
NOTHING = "the published code trains nothing {}; here: its stages 1.1, then 2"


def training_keys(path: str | Path, published: PublishedConfig) -> dict[str, Any]:
    """The model and its training in the keys of `tlee.training.config.TrainingConfig`.

    Without `path_split` there is no `data.train`; the caller may add it.

    Raises:
        UsageError: as `tlee.models.published_config.own_keys`.
    """
    return {
        **own_keys(path, published),
        "data": _data(published),
        "init": _init(published),
        "recipe": PUBLISHED,
        "stages": _stages(published),
        "seed": published.seed,
    }


def notes(published: PublishedConfig) -> list[str]:
    """What may surprise about a training from this file, a line each."""
    how = {"test": "with train_mode test", None: "without train_mode"}.get(published.train_mode)
    return [NOTHING.format(how)] if how else []


def listed_videos(published: PublishedConfig) -> dict[str, str | None]:
    """The videos to evaluate with, `data_val` or else `data`: `data` (the list), `format`, `root`, `labels`."""
    videos = published.data_val or published.data
    format = _format(videos)
    root = videos.path_frame if format != "folders" else None
    return {"data": videos.path_split, "format": format, "root": root, "labels": _class_file(videos)}


def _data(published: PublishedConfig) -> dict[str, Any]:
    train, val = published.data, published.data_val
    format = _format(train)
    keys: dict[str, Any] = {
        "format": format,
        "train": train.path_split,
        "val": val.path_split if val and val.path_split else None,
    }
    if format != "folders":
        keys["root"] = train.path_frame
        keys["val_root"] = val.path_frame if val and val.path_frame != train.path_frame else None
        keys["labels"] = _class_file(train)
    augment = {"jitter": False, "flip": False}  # the published code has none
    return {**{key: value for key, value in keys.items() if value is not None}, "augment": augment}


def _format(data: Data) -> str:
    return data.name.lower() if data.name.lower() in FORMATS else "folders"


def _class_file(data: Data) -> str | None:
    return data.path_classid if data.path_classid and os.path.isfile(data.path_classid) else None


def _init(published: PublishedConfig) -> str:
    """The starting weights, as `TrainingConfig.init`."""
    if published.resume and published.resume_path:
        return published.resume_path
    start = published.checkpoint.init
    if published.train_mode == "2":
        start = published.test_path or start
    if published.train_mode in ("1", "1.1", "2") and start:
        return start
    return "imagenet" if published.model.backbone.pretrained else "random"


def _stages(published: PublishedConfig) -> list[dict[str, Any]]:
    model, mode = published.model, published.train_mode
    epochs = model.epochs or EPOCHS
    schedule = model.schedule if model.useLRSchedule else []
    common: dict[str, Any] = {"batch": BATCH, "schedule": schedule, "alone": False}
    learning = {} if model.backbone.requires_grad else {"freeze_backbone": True}
    if mode == "1":
        return [{"stage": "joint", "epochs": epochs, **common, **learning}]
    stages = []
    if mode != "2":
        stages.append({"stage": "backbone", "epochs": epochs, **common, **learning})
        if model.branches:
            stages.append({"stage": "branches", "epochs": 2 * epochs, **common})
    if mode != "1.1":
        knob = {} if published.b is None else {"b_knob": published.b}
        stages.append({"stage": "gate", "epochs": GATE_EPOCHS, **common, "batch": GATE_BATCH, **knob})
    return stages
