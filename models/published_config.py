"""Configuration files of the published code in the keys of ours, and the model's configuration from either kind.

`tlee.training.published` does the same for the training.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tlee import cli
from tlee.data.labelled.class_names import read_class_names
from tlee.errors import UsageError
from tlee.frames import BILINEAR, PUBLISHED
from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_STD, Config, own_name, read_yaml, validated
from tlee.models.model import check_parts
from tlee.models.published_schema import Model, PublishedConfig

PUBLISHED_NECK = 4096
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {True: (PUBLISHED_MEAN, PUBLISHED_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
# Only published files have these.
MARKS = {"branch_num", "useFeatureFunc", "useGateFunc", "schedule", "first_threshold", "exit_thresh"}
FRAMEEXIT_PARTS = {"frm": "max", "gate": "eg", "heads": "per_frame"}  # which all of them have
# Keys of our training configurations that a model's has not.
TRAINING_KEYS = {"data", "init", "recipe", "stages", "seed", "precision", "save_steps"}


def as_published(path: str | Path, content: dict[str, Any]) -> PublishedConfig | None:
    """The published configuration in a file's keys; None if the keys are ours.

    Raises:
        UsageError: the keys do not fit or contradict each other.
    """
    data, model = content.get("data"), content.get("model")
    named = isinstance(data, dict) and "name" in data
    marked = isinstance(model, dict) and (MARKS & set(model) or isinstance(model.get("backbone"), dict))
    return validated(path, content, PublishedConfig) if named or marked else None


def load_model_config(path: str | Path) -> tuple[Config, list[str]]:
    """A model's configuration from a published file or one of ours, whose training keys are ignored.

    Returns:
        The configuration, and what of a published file is ignored, a line each.

    Raises:
        UsageError: the file cannot be read, or its keys do not fit or contradict each other.
    """
    content = read_yaml(path)
    if published := as_published(path, content):
        return validated(path, own_keys(path, published), Config), published.warnings()
    config = validated(path, {key: value for key, value in content.items() if key not in TRAINING_KEYS}, Config)
    check_parts(path, config)
    return config, []


def warn(program: str, path: str | Path, warnings: list[str]) -> None:
    """Report what of a published configuration is ignored."""
    for line in warnings:
        cli.report(program, f"{path}: warning: {line}")


def own_keys(path: str | Path, published: PublishedConfig) -> dict[str, Any]:
    """The same model in the keys of our own configurations.

    Raises:
        UsageError: as `load_model_config`, also where the file's `output_dim` is not the network's.
    """
    data, model = published.data, published.model
    normalize = data.preprocessing.normalize
    mean, std = normalize if isinstance(normalize, tuple) else STATISTICS[normalize]
    has_neck = model.frameexit or data.name.lower() == "ucf101"
    thresholds = {"first": model.first_threshold, "layer": model.exit_thresh}
    keys = {
        "name": f"{data.name}-{model.network}",
        "model": {
            "backbone": model.network,
            "input_size": data.preprocessing.crop_center,
            "branches": model.branches,
            "shift": False,  # as published
            "branch_scale": model.branch_scale,
            "crm_num": model.crm_num,
            "frm": own_name(_part_name(model.useFeatureFunc, "mp")),
            "gate": _part_name(model.useGateFunc, "gm"),
            "neck": PUBLISHED_NECK if has_neck else None,
            "classes": published.classes,
            **(FRAMEEXIT_PARTS if model.frameexit else {}),
        },
        "frames": {
            "count": data.num_frames,
            "order": model.order(data.num_frames),
            "resize": data.preprocessing.resize,
            "sampling": PUBLISHED,
            "interpolation": BILINEAR,
            "mean": list(mean),
            "std": list(std),
        },
        "exits": {name: value for name, value in thresholds.items() if value is not None},
        "labels": _labels(path, data.path_classid, published.classes),
    }
    _check_feature_size(path, model, check_parts(path, validated(path, keys, Config)).backbone.feature_size)
    return keys


def _check_feature_size(path: str | Path, model: Model, size: int) -> None:
    for key, given in (("output_dim", model.output_dim), ("backbone.output_dim", model.backbone.output_dim)):
        if given is not None and given not in (size, [size]):
            problem = f"model.{key} {given}, but the features of {model.network} are of length {size}"
            raise UsageError(path, problem, "correct or remove the key")


def _part_name(value: str | bool, default: str) -> str:
    return value if isinstance(value, str) else (default if value else "none")


def _labels(path: str | Path, file: str | None, classes: int) -> list[str]:
    """Class names of the list; none where it does not exist."""
    if not file or not os.path.isfile(file):
        return []
    try:
        return read_class_names(file, classes)
    except UsageError as error:
        raise UsageError(path, f"data.path_classid: {error.subject}: {error.problem}", error.remedy) from None
