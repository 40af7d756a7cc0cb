"""Configuration files of the published code, as they are.

Their keys are those of the published files; `useFeatureFunc` and `useGateFunc` name a module there, or switch the
default one on or off. What they say of training is turned into our keys by `tlee.training.published`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tlee import cli
from tlee.data.labelled.class_names import read_class_names
from tlee.data.labelled.formats import FORMATS
from tlee.errors import UsageError
from tlee.frames import BILINEAR, PUBLISHED
from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_STD, Config, own_name, read_yaml, validated
from tlee.models.model import check_parts

Statistics = tuple[float, float, float]
CLASSES = {name: format.classes for name, format in FORMATS.items() if format.classes}
PUBLISHED_NECK = 4096
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS = {True: (PUBLISHED_MEAN, PUBLISHED_STD), "imagenet": (IMAGENET_MEAN, IMAGENET_STD)}
# Only published files have these.
MARKS = {"branch_num", "useFeatureFunc", "useGateFunc", "schedule", "first_threshold", "exit_thresh"}
FRAMEEXIT = "adaptive"  # the name of models of FrameExit's form
FRAMEEXIT_PARTS = {"frm": "max", "gate": "eg", "heads": "per_frame"}  # which all of them have
PLACEHOLDER = "a.a"  # a backbone's name where `model.name` says it
BACKBONE = re.compile(r"(?:torchvision|branch)\.(?P<network>\w+?)(?:\.(?P<branches>\d))?")
ORDER = re.compile(r"input_order\d+")
# Of our training configurations, beside the model's own keys.
TRAINING_KEYS = {"data", "init", "stages", "seed", "precision", "save_steps"}


class PublishedSection(BaseModel):
    """A part of a published configuration; keys that are not known are kept aside for a warning."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, content: Any) -> Any:
        return {k: v for k, v in content.items() if v is not None} if isinstance(content, dict) else content

    def unknown(self, prefix: str = "") -> list[str]:
        """Keys that mean nothing here, as `section.key`."""
        own = [prefix + key for key in self.model_extra or {}]
        sections = [(name, getattr(self, name)) for name in type(self).model_fields]
        return own + [
            k for name, part in sections if isinstance(part, PublishedSection) for k in part.unknown(f"{prefix}{name}.")
        ]


class Preprocessing(PublishedSection):
    """`resize` and `crop_center` in pixels; `normalize`: true for the published statistics of RGB in 0-1, `imagenet`,
    or [mean, std]. `to_tensor` changes nothing."""

    to_tensor: Any = None
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
            elif isinstance(value, list) and value and all(side == value[0] for side in value):  # height and width
                plain[key] = value[0]
        if isinstance(plain.get("normalize"), dict):
            plain["normalize"] = [plain["normalize"].get("mean"), plain["normalize"].get("std")]
        return plain

    @model_validator(mode="after")
    def _crop_fits(self) -> Preprocessing:
        if self.crop_center > self.resize:
            raise ValueError(f"crop_center {self.crop_center} is larger than resize {self.resize}")
        return self


class LabelPreprocessing(PublishedSection):
    """`one_hot_encoding`: the number of classes."""

    video_multihot_labels: Any = None
    one_hot_encoding: int | None = Field(None, ge=2)


class Data(PublishedSection):
    """Videos. `num_workers` and `shuffle` change nothing here."""

    name: str
    num_frames: int = Field(10, ge=1)
    num_classes: int | None = Field(None, ge=2)
    preprocessing: Preprocessing = Preprocessing()
    preprocessing_label: LabelPreprocessing = LabelPreprocessing()
    path_frame: str | None = None
    path_split: str | None = None
    path_label: str | None = None
    path_classid: str | None = None
    num_workers: Any = None
    shuffle: Any = None


class Backbone(PublishedSection):
    """`name`: `a.a` where `model.name` says the network, else `torchvision.NETWORK` or `branch.NETWORK.BRANCHES`."""

    name: str = PLACEHOLDER
    pretrained: bool = True
    requires_grad: bool = True
    output_dim: int | list[int] | None = None
    type: Any = None
    truncate_modules: Literal[-1] = -1  # the classifier alone is cut off

    @field_validator("name")
    @classmethod
    def _readable(cls, name: str) -> str:
        if name != PLACEHOLDER and not BACKBONE.fullmatch(name):
            raise ValueError(f"'{name}' is not torchvision.NETWORK or branch.NETWORK.BRANCHES")
        return name

    @property
    def network(self) -> str | None:
        """The network in the name."""
        found = BACKBONE.fullmatch(self.name)
        return found["network"] if found else None

    @property
    def branches(self) -> int | None:
        """The number of branches in the name."""
        found = BACKBONE.fullmatch(self.name)
        return int(found["branches"]) if found and found["branches"] else None


class Pooling(PublishedSection):
    name: Any = None


class Adaptive(PublishedSection):
    input_order: list[int] | None = None


class Model(PublishedSection):
    """The network and the exit rule, and how long it is trained. `type`, `pooling` and `single_frame_mac` change
    nothing. `backbone` may be the network's name alone."""

    name: str | None = None
    backbone: Backbone = Backbone()
    branch_num: int | None = Field(None, ge=0, le=3)
    crm_num: int = Field(3, ge=1)
    branch_scale: int = Field(1, ge=0)
    output_dim: int | list[int] | None = None
    num_classes: int | None = Field(None, ge=2)
    num_class: int | None = Field(None, ge=2)
    useFeatureFunc: str | bool = "mp"
    useGateFunc: str | bool = "gm"
    first_threshold: float | None = None
    exit_thresh: float | None = None
    adaptive: Adaptive = Adaptive()
    epochs: int | None = Field(None, ge=1, le=100_000)
    useLRSchedule: bool = True
    schedule: Annotated[list[int], Field(max_length=1000)] = []
    type: Any = None
    pooling: Pooling = Pooling()
    single_frame_mac: Any = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        plain = dict(content)
        if isinstance(plain.get("backbone"), str):
            plain["name"] = plain.get("name") or plain.pop("backbone")
        if isinstance(plain.get("schedule"), int):
            plain["schedule"] = [plain["schedule"]]
        return plain

    @model_validator(mode="after")
    def _consistent(self) -> Model:
        if self.schedule != sorted(self.schedule):
            raise ValueError(f"schedule {self.schedule} falls")
        named = self.backbone.network
        if self.name is None and named is None:
            raise ValueError("no network is named: give name")
        if self.frameexit and named is None:
            raise ValueError(f"name '{FRAMEEXIT}' needs backbone.name torchvision.NETWORK")
        if not self.frameexit and self.name and named and own_name(named) != own_name(self.name):
            raise ValueError(f"name '{self.name}', but backbone.name '{self.backbone.name}'")
        return self

    @property
    def frameexit(self) -> bool:
        """Whether this is of FrameExit's form."""
        return self.name == FRAMEEXIT

    @property
    def network(self) -> str:
        """The backbone's name, ours."""
        return own_name(str(self.backbone.network if self.frameexit or not self.name else self.name))

    @property
    def branches(self) -> int:
        """The number of branches. Files of FrameExit's form have none, whatever their backbone is called."""
        if self.frameexit:
            return 0
        given = self.backbone.branches if self.branch_num is None else self.branch_num
        return 3 if given is None else given

    def order(self, frames: int) -> list[int] | None:
        """The processing order of so many frames; None where the file has none."""
        order = (self.model_extra or {}).get(f"input_order{frames}")
        return order if order is not None else self.adaptive.input_order

    def unknown(self, prefix: str = "") -> list[str]:
        return [key for key in super().unknown(prefix) if not ORDER.fullmatch(key.removeprefix(prefix))]


class Checkpoint(PublishedSection):
    init: str | None = None


class PublishedConfig(PublishedSection):
    """A published configuration file. `help`, `show_model` and `base_path` change nothing."""

    data: Data
    data_val: Data | None = None
    model: Model
    checkpoint: Checkpoint = Checkpoint()
    train_mode: Literal["1", "1.1", "2", "test"] | None = None
    test_path: str | None = None
    b: float | None = Field(None, gt=0)
    seed: int = Field(0, ge=0)
    resume: bool = False
    resume_path: str | None = None
    help: Any = None
    show_model: Any = None
    base_path: Any = None

    @field_validator("train_mode", mode="before")
    @classmethod
    def _as_text(cls, mode: Any) -> Any:
        return str(mode).removesuffix(".0")

    @model_validator(mode="after")
    def _agrees(self) -> PublishedConfig:
        name, stated = self.data.name, self._stated_classes()
        known = CLASSES.get(name.lower())
        if known is None and not stated:
            raise ValueError(f"data.name '{name}' is none of {', '.join(CLASSES)}; add num_classes for another set")
        (first, count), *others = stated.items() if known is None else [(name, known), *stated.items()]
        for key, value in others:
            if value != count:
                raise ValueError(f"{key} {value}, but {first} has {count}")
        if self.data_val and self.data_val.num_frames != self.data.num_frames:
            raise ValueError(f"data_val.num_frames {self.data_val.num_frames}, but data has {self.data.num_frames}")
        if self.data_val and self.data_val.preprocessing != self.data.preprocessing:
            raise ValueError("data_val.preprocessing is not that of data")
        if self.resume and not self.resume_path:
            raise ValueError("resume is true, but resume_path is empty")
        return self

    def _stated_classes(self) -> dict[str, int]:
        sections = {"data": self.data, "data_val": self.data_val}
        stated = {f"{name}.num_classes": data.num_classes for name, data in sections.items() if data}
        one_hot = {name: data.preprocessing_label.one_hot_encoding for name, data in sections.items() if data}
        stated.update({f"{name}.preprocessing_label.one_hot_encoding": count for name, count in one_hot.items()})
        stated.update({f"model.{key}": getattr(self.model, key) for key in ("num_classes", "num_class")})
        return {key: count for key, count in stated.items() if count is not None}

    @property
    def classes(self) -> int:
        """The number of classes, on which all keys agree."""
        return CLASSES.get(self.data.name.lower()) or next(iter(self._stated_classes().values()))

    def warnings(self) -> list[str]:
        """What of the file is not followed, a line each."""
        unknown, backbone = self.unknown(), self.model.backbone
        lines = [f"not known and left out: {', '.join(unknown)}"] if unknown else []
        if self.model.frameexit and backbone.branches:
            lines.append(f"the branches of {backbone.name} are not read: model.name is {FRAMEEXIT}")
        return lines


def is_published(content: dict[str, Any]) -> bool:
    """Whether a file's keys are those of a published configuration."""
    data, model = (content.get(section) for section in ("data", "model"))
    if isinstance(data, dict) and "name" in data:
        return True
    return isinstance(model, dict) and (bool(MARKS & set(model)) or isinstance(model.get("backbone"), dict))


def load_model_config(path: str | Path) -> tuple[Config, list[str]]:
    """A model's configuration from a published file or our own kind, of which a training's keys are left out.

    Returns:
        The configuration, and what of a published file is not followed, a line each.

    Raises:
        UsageError: the file cannot be read, or its keys do not fit or contradict each other.
    """
    content = read_yaml(path)
    if is_published(content):
        published = validated(path, content, PublishedConfig)
        return validated(path, own_keys(path, published), Config), published.warnings()
    config = validated(path, {key: value for key, value in content.items() if key not in TRAINING_KEYS}, Config)
    check_parts(path, config)
    return config, []


def warn(program: str, path: str | Path, warnings: list[str]) -> None:
    """Say what of a published configuration is not followed."""
    for line in warnings:
        cli.report(program, f"{path}: warning: {line}")


def own_keys(path: str | Path, published: PublishedConfig) -> dict[str, Any]:
    """The same model in the keys of our own configurations.

    Raises:
        UsageError: as `load_model_config`, also where the file's `output_dim` is not the network's.
    """
    data, model = published.data, published.model
    given = data.preprocessing.normalize
    mean, std = given if isinstance(given, tuple) else STATISTICS[given]
    necked = model.frameexit or data.name.lower() == "ucf101"
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
            "frm": own_name(_chosen(model.useFeatureFunc, "mp")),
            "gate": _chosen(model.useGateFunc, "gm"),
            "neck": PUBLISHED_NECK if necked else None,
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
    _check_size(path, model, check_parts(path, validated(path, keys, Config)).backbone.feature_size)
    return keys


def _check_size(path: str | Path, model: Model, size: int) -> None:
    for key, given in (("output_dim", model.output_dim), ("backbone.output_dim", model.backbone.output_dim)):
        if given is not None and given not in (size, [size]):
            problem = f"model.{key} {given}, but the features of {model.network} are of length {size}"
            raise UsageError(path, problem, "correct or remove the key")


def _chosen(value: str | bool, default: str) -> str:
    return value if isinstance(value, str) else (default if value else "none")


def _labels(path: str | Path, file: str | None, classes: int) -> list[str]:
    """Class names of the list; none if it is not here."""
    if not file or not os.path.isfile(file):
        return []
    try:
        return read_class_names(file, classes)
    except UsageError as error:
        raise UsageError(path, f"data.path_classid: {error.subject}: {error.problem}", error.remedy) from None
