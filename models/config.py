"""What a model is and what frames it takes: the configuration that travels with every checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tlee.errors import UsageError
from tlee.frames import FrameSpec, frame_order
from tlee.models.backbones import BACKBONES
from tlee.models.frms import FRMS
from tlee.models.gates import GATES
from tlee.policy import Thresholds

# Kinetics statistics, as in the published configurations.
PUBLISHED_MEAN = (0.43216, 0.394666, 0.37645)
PUBLISHED_STD = (0.22803, 0.22145, 0.216989)


class Section(BaseModel):
    """A part of a configuration: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """The network.

    Attributes:
        backbone: a name of the backbone registry.
        width: channel multiplier of mobilenetv2.
        input_size: side of a frame, pixels.
        branches: exits before the tail (B).
        branch_scale, crm_num: of the published branch, see `tlee.models.branches.Branch`.
        neck: length of the shared projection behind every exit (the published UCF101 models: 4096);
            None for none.
    """

    backbone: str = "mobilenetv2"
    width: float = Field(1.0, gt=0)
    input_size: int = Field(224, ge=32)
    branches: int = Field(3, ge=1, le=3)
    branch_scale: int = Field(1, ge=0)
    crm_num: int = Field(3, ge=1)
    frm: str = "max"
    gate: str = "gm"
    neck: int | None = Field(None, ge=1)
    classes: int = Field(ge=2)

    @model_validator(mode="after")
    def _known(self) -> ModelConfig:
        for key, value, registry in (
            ("backbone", self.backbone, BACKBONES),
            ("frm", self.frm, FRMS),
            ("gate", self.gate, GATES),
        ):
            if value not in registry:
                raise ValueError(f"{key} '{value}' is not known; choose of {', '.join(registry)}")
        if self.width != 1.0 and not BACKBONES[self.backbone].scalable:
            raise ValueError(f"{self.backbone} has no width multiplier")
        return self


class FramesConfig(Section):
    """The frames: `count` (T), processing `order`, short side after `resize` (pixels), statistics of
    RGB in 0-1 for the normalisation."""

    count: int = Field(10, ge=1)
    order: Literal["coarse", "chronological"] = "coarse"
    resize: int = Field(224, ge=1)
    mean: tuple[float, float, float] = PUBLISHED_MEAN
    std: tuple[float, float, float] = PUBLISHED_STD


class ExitConfig(Section):
    """Thresholds of the exit rule: one number for all exits, or one per exit."""

    first: float | list[float] = 0.9
    layer: float | list[float] = 0.9
    gate: float | list[float] = 0.5


class Config(Section):
    """Everything a checkpoint carries beside its weights.

    Example:
        >>> config = Config(model=ModelConfig(classes=10), labels=list("0123456789"))
        >>> config.frame_spec().order
        [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
    """

    name: str = Field("tlee", min_length=1)
    model: ModelConfig
    frames: FramesConfig = FramesConfig()
    exits: ExitConfig = ExitConfig()
    labels: list[str] = []

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.labels and len(self.labels) != self.model.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.model.classes} classes")
        if self.frames.resize < self.model.input_size:
            raise ValueError(f"frames.resize {self.frames.resize} is below model.input_size {self.model.input_size}")
        return self

    def frame_spec(self) -> FrameSpec:
        """The frames as the device sees them."""
        frames = self.frames
        return FrameSpec(frames.count, frame_order(frames.count, frames.order), frames.resize, self.model.input_size)

    def thresholds(self) -> Thresholds:
        """The exit rule's thresholds, one per exit."""
        return Thresholds.of(self.model.branches + 1, **self.exits.model_dump())

    def label_names(self) -> list[str]:
        """The labels, or `class 0`, `class 1`, ... where the configuration has none."""
        return self.labels or [f"class {i}" for i in range(self.model.classes)]


def load_config(path: str | Path, kind: type[Section] = Config) -> Section:
    """Read a YAML configuration.

    Raises:
        UsageError: the file cannot be read, is no YAML, or a key or value does not fit.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            content = yaml.safe_load(stream)
    except OSError as error:
        raise UsageError(path, str(error.strerror), "check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(path, f"not readable as YAML ({error})", "correct it") from None
    if not isinstance(content, dict):
        raise UsageError(path, "not a configuration (no keys)", "see examples/digits.yml")
    try:
        return kind(**content)
    except ValidationError as error:
        raise UsageError(path, explain(error), "correct these keys") from None


def explain(error: ValidationError) -> str:
    """What a validation found, on one line."""
    found = [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
    return ", ".join(f"{where}: {what}" if where else what for where, what in found)


def parse_config(text: str) -> Config:
    """A configuration from the JSON in a checkpoint. Raises ValueError."""
    try:
        return Config(**json.loads(text))
    except ValidationError as error:
        raise ValueError(explain(error)) from None
    except TypeError:
        raise ValueError("not a configuration") from None
