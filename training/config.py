"""The configuration of a training run: the model's, plus data and stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tlee.models.config import Config, Section
from tlee.models.gates import GATES


class DataConfig(Section):
    """`train` and `val` are folders with one subfolder of clips per class.

    Attributes:
        cache: keep decoded clips in memory, for sets that fit (T x size x size x 3 bytes a video).
        workers: processes that decode; with `cache`, each keeps a copy of its own.
    """

    train: str
    val: str
    cache: bool = False
    workers: int = Field(0, ge=0)


class StageConfig(Section):
    """One stage, published optimiser and schedule as defaults.

    Attributes:
        stage: what is trained, a name of `tlee.training.stages.STAGES`.
        batch: videos per step.
        schedule: epochs at which the learning rate drops to a tenth.
        b_knob: the gate's published `b`: how much loss still lets a video stop.
    """

    stage: Literal["frames", "backbone", "branches", "gate"]
    epochs: int = Field(ge=1)
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: list[int] = []
    b_knob: float = Field(0.05, gt=0)


class TrainingConfig(Config):
    """A model's configuration with what `tlee-train` needs beside it. `init`: where the backbone's weights start."""

    data: DataConfig
    init: Literal["random", "imagenet"] = "random"
    stages: list[StageConfig] = Field(min_length=1)
    seed: int = 0

    @model_validator(mode="after")
    def _stages_fit(self) -> TrainingConfig:
        names = [stage.stage for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("a stage is named twice")
        if "gate" in names and GATES[self.model.gate] is None:
            raise ValueError(f"stage gate, but the gate '{self.model.gate}' has nothing to learn")
        return self

    def for_model(self, labels: list[str]) -> Config:
        """What travels with the checkpoint."""
        kept = {name: getattr(self, name) for name in Config.model_fields}
        return Config(**{**kept, "labels": self.labels or labels})
