"""The configuration of a model and of its frames, stored with every checkpoint."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tlee.errors import UNSAFE, UsageError
from tlee.frames import FrameSpec, takes_any_order
from tlee.models.backbones import BACKBONES
from tlee.models.branches import BRANCHES
from tlee.models.frms import FRMS
from tlee.models.gates import GATES
from tlee.models.yaml_text import parse_yaml
from tlee.policy import Thresholds
from tlee.reading import MB, read_text

YAML_LIMIT = MB // 2  # of a file, bytes: the worst YAML of this size takes some 4 s
FAULTS_SHOWN = 5
# Kinetics statistics, as in the published configurations.
PUBLISHED_MEAN = (0.43216, 0.394666, 0.37645)
PUBLISHED_STD = (0.22803, 0.22145, 0.216989)
# Published orders: the middle first, then ever finer (`input_order8/10/16`).
PUBLISHED_ORDERS = {
    8: [3, 6, 7, 0, 4, 5, 2, 1],
    10: [5, 0, 9, 2, 7, 4, 6, 3, 8, 1],
    16: [9, 8, 6, 3, 15, 1, 0, 12, 14, 2, 10, 7, 13, 11, 4, 5],
}
# Names of the published configurations to ours.
PUBLISHED_NAMES = {
    "Branch": "crm",
    "Conv_Branch": "conv",
    "ConvBranch": "conv",
    "FC_Branch": "fc",
    "FCBranch": "fc",
    "mp": "max",
    "frm": "max",
    "ap": "mean",
    "afrm": "attention",
    "na": "add",
    "BN_Inception": "bn_inception",
    "BNInception": "bn_inception",
}
# Generous for any real use; larger numbers would make models or lists that take forever or all memory.
MAX_FRAMES, MAX_SIZE, MAX_CLASSES, MAX_NECK = 1024, 4096, 100_000, 16_384
MAX_PIXELS = 2**26  # of all frames of a video: 200 MB
Cut = Annotated[int, Field(ge=1, le=1000)]
Order = Annotated[list[int], Field(max_length=MAX_FRAMES)]
Label = Annotated[str, Field(max_length=1000)]
Mean = Annotated[float, Field(ge=-10, le=10)]
Deviation = Annotated[float, Field(ge=1e-4, le=1e4)]
Threshold = Annotated[float, Field(ge=-1e6, le=1e6)]
PerExit = Annotated[list[Threshold], Field(min_length=1, max_length=4)]


class Section(BaseModel):
    """Part of a configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=BaseModel)


class ModelConfig(Section):
    """The network. Every part may be named as in the published configurations (`mp` for `max`).

    Attributes:
        backbone: a key of `tlee.models.backbones.BACKBONES`.
        width: channel multiplier, for backbones that have one.
        input_size: side of a frame, pixels.
        branches: number of exits before the final one (B); 0 for a model with the final exit only.
        cuts: number of backbone modules in front of each branch; None for the backbone's own.
        shift: False removes the temporal shift from mobilenetv2_tsm, as published.
        branch: a key of `tlee.models.branches.BRANCHES`.
        branch_scale, crm_num: of the branch `crm`, see `tlee.models.branches.Branch`.
        frm, gate: keys of `tlee.models.frms.FRMS` and `tlee.models.gates.GATES`.
        heads: `shared` for one classifier and one gate for all frames, or `per_frame` for FrameExit's: a classifier
            per frame and, from the second frame on, a gate per frame, always a `FrameExitGate` (gate `eg`).
        neck: length of the shared projection behind every exit (4096 in the published UCF101 models); None for none.
    """

    backbone: str = "mobilenetv2"
    width: float = Field(1.0, ge=0.01, le=8)
    input_size: int = Field(224, ge=32, le=MAX_SIZE)
    branches: int = Field(3, ge=0, le=3)
    cuts: Annotated[list[Cut], Field(max_length=3)] | None = None
    shift: bool = True
    branch: str = "crm"
    branch_scale: int = Field(1, ge=0, le=16)
    crm_num: int = Field(3, ge=1, le=16)
    frm: str = "max"
    gate: str = "gm"
    heads: Literal["shared", "per_frame"] = "shared"
    neck: int | None = Field(None, ge=1, le=MAX_NECK)
    classes: int = Field(ge=2, le=MAX_CLASSES)

    @field_validator("backbone", "branch", "frm", "gate", mode="before")
    @classmethod
    def _own_name(cls, value: object) -> object:
        return own_name(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known(self) -> ModelConfig:
        parts: dict[str, Collection[str]] = {"backbone": BACKBONES, "branch": BRANCHES, "frm": FRMS, "gate": GATES}
        for key, known in parts.items():
            if getattr(self, key) not in known:
                raise ValueError(f"{key} '{getattr(self, key)}' is not known; choose of {', '.join(known)}")
        if self.heads == "per_frame" and self.gate not in ("eg", "random", "none"):
            raise ValueError(f"gate {self.gate}, but heads per_frame has FrameExit's gates: choose eg, random or none")
        if self.width != 1.0 and not BACKBONES[self.backbone].scalable:
            raise ValueError(f"{self.backbone} has no width multiplier")
        if self.cuts is not None and len(self.cuts) != self.branches:
            raise ValueError(f"{len(self.cuts)} cuts for {self.branches} branches")
        return self

    @property
    def shifts(self) -> bool:
        """Whether a frame takes channels from the frame before."""
        return self.shift and BACKBONES[self.backbone].shifts


class FramesConfig(Section):
    """The frames and how they are prepared, the same in training and on a device.

    Attributes:
        count: frames per video (T).
        order: processing order: coarse, chronological, or a permutation of 0 to `count` - 1; None for coarse, or
            chronological for a backbone with temporal shift.
        resize: short side of the picture before the centre crop, pixels; None for `model.input_size`.
        sampling: uniform, from the middle of T equal parts; keyframes, of each part the one that the least is decoded
            for; or published, those that the published loader takes (`tlee.frames.published_numbers`).
        interpolation: of the resizing: area, or bilinear, Pillow's antialiased filter, as published.
        mean, std: of RGB in 0-1, for the normalisation.
    """

    count: int = Field(10, ge=1, le=MAX_FRAMES)
    order: Literal["coarse", "chronological"] | Order | None = None
    resize: int | None = Field(None, ge=1, le=MAX_SIZE)
    sampling: Literal["uniform", "keyframes", "published"] = "uniform"
    interpolation: Literal["area", "bilinear"] = "area"
    mean: tuple[Mean, Mean, Mean] = PUBLISHED_MEAN
    std: tuple[Deviation, Deviation, Deviation] = PUBLISHED_STD

    @model_validator(mode="after")
    def _every_frame_once(self) -> FramesConfig:
        if isinstance(self.order, list) and sorted(self.order) != list(range(self.count)):
            each = f"each of {self.count} frames (0 to {self.count - 1})"
            raise ValueError(f"order {self.order} does not name {each} once")
        return self


class ExitConfig(Section):
    """Thresholds and temperature of the exit rule, one number for all exits or one per exit."""

    first: Threshold | PerExit = 0.9
    layer: Threshold | PerExit = 0.9
    gate: Threshold | PerExit = 0.5
    temperature: Threshold | PerExit = 1.0


class Config(Section):
    """The configuration stored with a checkpoint's weights.

    Examples:
        >>> config = Config(model=ModelConfig(classes=10), labels=list("0123456789"))
        >>> config.frame_spec().order
        [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
    """

    name: str = Field("tlee", min_length=1, max_length=200)
    model: ModelConfig
    frames: FramesConfig = FramesConfig()
    exits: ExitConfig = ExitConfig()
    labels: Annotated[list[Label], Field(max_length=MAX_CLASSES)] = []

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.frames.count * self.model.input_size**2 > MAX_PIXELS:
            clip = f"{self.frames.count} frames of {self.model.input_size} x {self.model.input_size}"
            raise ValueError(f"a video of {clip} pixels is more than {MAX_PIXELS:,} in all")
        try:
            self.thresholds()
        except UsageError as error:
            raise ValueError(f"exits: {error.subject}: {error.problem}") from None
        unsafe = next((text for text in [self.name, *self.labels] if UNSAFE.search(text)), None)
        if unsafe is not None:  # a bundle may not contain them
            raise ValueError(f"control characters in {unsafe[:80]!r}")
        if self.labels and len(self.labels) != self.model.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.model.classes} classes")
        if self.short_side < self.model.input_size:
            raise ValueError(f"frames.resize {self.frames.resize} is below model.input_size {self.model.input_size}")
        if self.model.shifts and self.frame_spec().order != list(range(self.frames.count)):
            raise ValueError("a temporal shift needs frames.order chronological (or model.shift false, as published)")
        return self

    def frame_spec(self) -> FrameSpec:
        """The frames as the device sees them."""
        frames, model = self.frames, self.model
        order = frames.order or ("chronological" if model.shifts else "coarse")
        if isinstance(order, str):
            order = frame_order(frames.count, order)
        rules = frames.sampling, frames.interpolation, takes_any_order(model.frm, model.heads, model.shifts)
        return FrameSpec(frames.count, order, self.short_side, model.input_size, *rules)

    @property
    def short_side(self) -> int:
        """Of a picture before the centre crop, pixels."""
        return self.frames.resize or self.model.input_size

    def thresholds(self) -> Thresholds:
        """The exit rule's thresholds, one per exit."""
        return Thresholds.of(self.model.branches + 1, **self.exits.model_dump())

    def label_names(self) -> list[str]:
        """The labels, or `class 0`, `class 1`, ... where the configuration has none."""
        return self.labels or [f"class {i}" for i in range(self.model.classes)]


def frame_order(count: int, kind: str = "coarse") -> list[int]:
    """Processing order of `count` uniformly sampled frames.

    Args:
        kind: "coarse" for the middle first, then ever finer: the published order where there is one,
            else each next frame is the one farthest from all before it. "chronological" as they come.

    Raises:
        UsageError: another kind.

    Examples:
        >>> frame_order(10)
        [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
        >>> frame_order(5)
        [2, 0, 4, 1, 3]
    """
    if kind == "chronological":
        return list(range(count))
    if kind != "coarse":
        raise UsageError("frame order", f"'{kind}' is not known", "use coarse or chronological")
    if count in PUBLISHED_ORDERS:
        return list(PUBLISHED_ORDERS[count])
    order = [count // 2]
    while len(order) < count:
        rest = [i for i in range(count) if i not in order]
        order.append(max(rest, key=lambda i: min(abs(i - j) for j in order)))
    return order


def own_name(published: str) -> str:
    """Our name for a part of a published configuration; our own names stay as they are.

    Examples:
        >>> own_name("efficientnetb3"), own_name("mp"), own_name("resnet50")
        ('efficientnet_b3', 'max', 'resnet50')
    """
    return PUBLISHED_NAMES.get(published, re.sub(r"^efficientnet_?(b\d)$", r"efficientnet_\1", published))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The keys of a YAML file. Raises UsageError where it cannot be read or is no YAML."""
    text = read_text(os.fspath(path), YAML_LIMIT)
    try:
        content = parse_yaml(text)
    except ValueError as error:
        raise UsageError(path, f"not readable as YAML ({error})", "correct it") from None
    if not isinstance(content, dict):
        raise UsageError(path, "not a configuration (no keys)", "see examples/digits.yml")
    return content


def validated(path: str | Path, content: dict, kind: type[Kind]) -> Kind:
    """A configuration from a file's keys. Raises UsageError that names the keys that do not fit."""
    try:
        return kind(**content)
    except ValidationError as error:
        raise UsageError(path, explain(error), "correct these keys") from None


def explain(error: ValidationError) -> str:
    """The errors of a validation on one line of limited length."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        where, what = ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")
        line = f"{where}: {what}" if where else what
        lines.append(line if len(line) <= 200 else f"{line[:197]}...")
    more = len(lines) - FAULTS_SHOWN
    return ", ".join(lines[:FAULTS_SHOWN]) + (f" and {more} more" if more > 0 else "")
