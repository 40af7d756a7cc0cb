"""Configuration files of the published TLEE code, as they are.

Their keys are those of the published project's documentation; `useFeatureFunc` and `useGateFunc` name a module there,
or switch the default one on or off. What only concerns training is checked here and used by nobody.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tlee.errors import UsageError
from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_STD, Config, own_name, read_yaml, validated
from tlee.models.model import check_parts

Statistics = tuple[float, float, float]
CLASSES = {"ucf101": 101, "hmdb51": 51, "ssv2": 174, "minikinetics": 200, "activitynet1.3": 200}
UCF101_NECK = 4096
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {True: (PUBLISHED_MEAN, PUBLISHED_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
# Only published files have these.
MARKS = {"branch_num", "useFeatureFunc", "useGateFunc", "schedule"}


class PublishedSection(BaseModel):
    """A part of a published configuration; keys that are not known are kept aside for a warning."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, content: Any) -> Any:
        return {k: v for k, v in content.items() if v is not None} if isinstance(content, dict) else content


class Preprocessing(PublishedSection):
    """`resize` and `crop_center` in pixels; `normalize`: true for the published statistics of RGB in 0-1, `imagenet`,
    or [mean, std]."""

    resize: int = Field(224, ge=1)
    crop_center: int = Field(224, ge=1)
    normalize: Literal[True, "imagenet"] | tuple[Statistics, Statistics] = True

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        plain = dict(content)
        for key in ("resize", "crop_center"):
            value = plain.get(key)
            if value is True:  # switched on, at the default size
                del plain[key]
            elif isinstance(value, list | tuple) and len(set(value)) == 1:  # height and width
                plain[key] = value[0]
        if isinstance(plain.get("normalize"), dict):
            plain["normalize"] = [plain["normalize"].get("mean"), plain["normalize"].get("std")]
        return plain

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocessing:
        if self.crop_center > self.resize:
            raise ValueError(f"crop_center {self.crop_center} is larger than resize {self.resize}")
        return self


class Data(PublishedSection):
    name: str
    num_frames: int = Field(10, ge=1)
    num_classes: int | None = Field(None, ge=2)
    preprocessing: Preprocessing = Preprocessing()
    path_frame: str | None = None
    path_split: str | None = None
    path_label: str | None = None
    path_classid: str | None = None

    @model_validator(mode="after")
    def _classes_known(self) -> Data:
        known = CLASSES.get(self.name.lower())
        if known is None and self.num_classes is None:
            raise ValueError(f"name '{self.name}' is none of {', '.join(CLASSES)}; add num_classes for another set")
        if known and self.num_classes not in (None, known):
            raise ValueError(f"num_classes {self.num_classes}, but {self.name} has {known}")
        return self


class Model(PublishedSection):
    backbone: str
    branch_num: int = Field(3, ge=1, le=3)
    crm_num: int = Field(3, ge=1)
    branch_scale: int = Field(1, ge=0)
    useFeatureFunc: str | bool = "mp"
    useGateFunc: str | bool = "gm"
    schedule: int | list[int] = []

    @model_validator(mode="after")
    def _schedule_rises(self) -> Model:
        if isinstance(self.schedule, list) and self.schedule != sorted(set(self.schedule)):
            raise ValueError(f"schedule {self.schedule} does not rise")
        return self


class Checkpoint(PublishedSection):
    init: str | None = None


class PublishedConfig(PublishedSection):
    """A published configuration file."""

    data: Data
    model: Model
    checkpoint: Checkpoint = Checkpoint()

    def training_only(self) -> list[str]:
        """Keys that say how the model was trained, not what it is."""
        given = [("data.", key) for key in self.data.model_fields_set if key.startswith("path_")]
        given += [("model.", key) for key in self.model.model_fields_set & {"schedule"}]
        given += [("checkpoint.", key) for key in self.checkpoint.model_fields_set & {"init"}]
        return sorted(prefix + key for prefix, key in given)

    def unknown(self) -> list[str]:
        """Keys that mean nothing here, as `section.key`."""
        sections: dict[str, BaseModel] = {
            "": self,
            "data.": self.data,
            "data.preprocessing.": self.data.preprocessing,
            "model.": self.model,
            "checkpoint.": self.checkpoint,
        }
        return [prefix + key for prefix, section in sections.items() for key in section.model_extra or {}]


def is_published(content: dict[str, Any]) -> bool:
    """Whether a file's keys are those of a published configuration."""
    data, model = (content.get(section) for section in ("data", "model"))
    return (isinstance(data, dict) and "name" in data) or (isinstance(model, dict) and bool(MARKS & set(model)))


def load_model_config(path: str | Path) -> tuple[Config, list[str]]:
    """A model's configuration from our own kind of file or a published one.

    Returns:
        The configuration, and the published file's keys that mean nothing here.

    Raises:
        UsageError: the file cannot be read, or its keys do not fit or contradict each other.
    """
    content, unknown = read_yaml(path), []
    if is_published(content):
        published = validated(path, content, PublishedConfig)
        content, unknown = own_keys(path, published), published.unknown()
    config = validated(path, content, Config)
    check_parts(path, config)
    return config, unknown


def own_keys(path: str | Path, published: PublishedConfig) -> dict[str, Any]:
    """The same model in the keys of our own configurations. Raises UsageError as `load_model_config` does."""
    data, model = published.data, published.model
    classes = data.num_classes or CLASSES[data.name.lower()]
    backbone, given = own_name(model.backbone), data.preprocessing.normalize
    mean, std = given if isinstance(given, tuple) else STATISTICS[given]
    return {
        "name": f"{data.name}-{backbone}",
        "model": {
            "backbone": backbone,
            "input_size": data.preprocessing.crop_center,
            "branches": model.branch_num,
            "shift": False,  # as published
            "branch_scale": model.branch_scale,
            "crm_num": model.crm_num,
            "frm": own_name(_chosen(model.useFeatureFunc, "mp")),
            "gate": _chosen(model.useGateFunc, "gm"),
            "neck": UCF101_NECK if data.name.lower() == "ucf101" else None,
            "classes": classes,
        },
        "frames": {
            "count": data.num_frames,
            "resize": data.preprocessing.resize,
            "mean": list(mean),
            "std": list(std),
        },
        "labels": _labels(path, data.path_classid, classes),
    }


def _chosen(value: str | bool, default: str) -> str:
    return value if isinstance(value, str) else (default if value else "none")


def _labels(path: str | Path, file: str | None, classes: int) -> list[str]:
    """Class names of a list with a number and a name per line, as UCF101's classInd.txt; none if it is not here."""
    if not file or not os.path.isfile(file):
        return []
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    if len(lines) != classes or any(len(line) != 2 or not line[0].isdigit() for line in lines):
        problem = f"{file} (data.path_classid) is not a list of {classes} numbered names"
        raise UsageError(path, problem, "correct the list or remove the key")
    return [name.strip() for _, name in sorted(lines, key=lambda line: int(line[0]))]
