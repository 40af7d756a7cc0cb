"""The schema of the published code's configuration files, key by key as they are.

`useFeatureFunc` and `useGateFunc` name a module, or switch the default one on or off.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tlee.data.labelled.formats import FORMATS
from tlee.models.config import own_name

Statistics = tuple[float, float, float]
CLASSES = {name: format.classes for name, format in FORMATS.items() if format.classes}
FRAMEEXIT = "adaptive"  # the name of models of FrameExit's form
PLACEHOLDER = "a.a"  # a backbone's name where `model.name` says it
BACKBONE = re.compile(r"(?:torchvision|branch)\.(?P<network>\w+?)(?:\.(?P<branches>\d))?")
ORDER = re.compile(r"input_order\d+")


class PublishedSection(BaseModel):
    """A part of a published configuration; unknown keys are kept for a warning."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return cls.plain({key: value for key, value in content.items() if value is not None})  # empty is absent

    @classmethod
    def plain(cls, content: dict[str, Any]) -> dict[str, Any]:
        """The section with other notations of a value replaced by the usual one."""
        return content

    def unknown(self, prefix: str = "") -> list[str]:
        """Unknown keys, as `section.key`."""
        keys = [prefix + key for key in self.model_extra or {}]
        for name, section in self:
            if isinstance(section, PublishedSection):
                keys += section.unknown(f"{prefix}{name}.")
        return keys


class Preprocessing(PublishedSection):
    """`resize` and `crop_center` in pixels; `normalize`: true for the published statistics of RGB in 0-1, `imagenet`,
    or [mean, std]. `to_tensor` is ignored."""

    to_tensor: Any = None
    resize: int = Field(224, ge=1)
    crop_center: int = Field(224, ge=1)
    normalize: Literal[True, "imagenet"] | tuple[Statistics, Statistics] = True

    @classmethod
    def plain(cls, content: dict[str, Any]) -> dict[str, Any]:
        for key in ("resize", "crop_center"):
            value = content.get(key)
            if value is True:  # switched on, at the default size
                del content[key]
            elif isinstance(value, list) and value and all(side == value[0] for side in value):  # height and width
                content[key] = value[0]
        if isinstance(content.get("normalize"), dict):
            content["normalize"] = [content["normalize"].get("mean"), content["normalize"].get("std")]
        return content

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
    """Videos. `num_workers` and `shuffle` are ignored."""

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
    """`name`: `a.a` if `model.name` has the network, else `torchvision.NETWORK` or `branch.NETWORK.BRANCHES`."""

    name: str = PLACEHOLDER
    pretrained: bool = True
    requires_grad: bool = True
    output_dim: int | list[int] | None = None
    type: Any = None
    truncate_modules: Literal[-1] = -1  # all modules but the classifier

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
    """The network, the exit rule and the length of the training. `backbone` may be just the network's name. `type`,
    `pooling` and `single_frame_mac` are ignored."""

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

    @classmethod
    def plain(cls, content: dict[str, Any]) -> dict[str, Any]:
        if isinstance(content.get("backbone"), str):
            content["name"] = content.get("name") or content.pop("backbone")
        if isinstance(content.get("schedule"), int):
            content["schedule"] = [content["schedule"]]
        return content

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
        """Whether this is a model of FrameExit's form."""
        return self.name == FRAMEEXIT

    @property
    def network(self) -> str:
        """Our name of the backbone."""
        return own_name(str(self.backbone.network if self.frameexit or not self.name else self.name))

    @property
    def branches(self) -> int:
        """The number of branches; none in FrameExit's form, whatever the backbone's name says."""
        if self.frameexit:
            return 0
        given = self.backbone.branches if self.branch_num is None else self.branch_num
        return 3 if given is None else given

    def order(self, frames: int) -> list[int] | None:
        """The processing order for this number of frames; None if the file has none."""
        order = (self.model_extra or {}).get(f"input_order{frames}")
        return order if order is not None else self.adaptive.input_order

    def unknown(self, prefix: str = "") -> list[str]:
        return [key for key in super().unknown(prefix) if not ORDER.fullmatch(key.removeprefix(prefix))]


class Checkpoint(PublishedSection):
    init: str | None = None


class PublishedConfig(PublishedSection):
    """A published configuration file. `help`, `show_model` and `base_path` are ignored."""

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
        """The numbers of classes in the file, by key."""
        stated: dict[str, int | None] = {}
        for name, data in (("data", self.data), ("data_val", self.data_val)):
            if data:
                stated[f"{name}.num_classes"] = data.num_classes
                stated[f"{name}.preprocessing_label.one_hot_encoding"] = data.preprocessing_label.one_hot_encoding
        stated.update({f"model.{key}": getattr(self.model, key) for key in ("num_classes", "num_class")})
        return {key: count for key, count in stated.items() if count is not None}

    @property
    def classes(self) -> int:
        """The number of classes; all keys agree on it."""
        return CLASSES.get(self.data.name.lower()) or next(iter(self._stated_classes().values()))

    def warnings(self) -> list[str]:
        """What of the file is ignored, a line each."""
        unknown, backbone = self.unknown(), self.model.backbone
        lines = [f"not known and left out: {', '.join(unknown)}"] if unknown else []
        if self.model.frameexit and backbone.branches:
            lines.append(f"the branches of {backbone.name} are not read: model.name is {FRAMEEXIT}")
        return lines
