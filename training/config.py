"""The configuration of a training run: the model's, plus data and stages."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tlee.data.labelled.augment import AugmentConfig, Share
from tlee.data.labelled.listing import FORMATS
from tlee.models.config import Config, Section
from tlee.models.gates import GATES
from tlee.training.recipes import DEFAULT, completed

MAX_EPOCHS = 100_000
Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Drops = Annotated[list[int], Field(max_length=1000)]


class DataConfig(Section):
    """Where the videos are.

    Attributes:
        format: of the lists, a key of `tlee.data.labelled.listing.FORMATS`.
        train: the list, or the folder with one subfolder of clips per class.
        val: the same for validation, or the share of `train` to hold out, in whole recordings drawn by the seed.
        group: what names a clip's recording: a regular expression on its path below the data's folder (its first group,
            or else all that it matches), or a file of lines `path recording`; None to guess it from the names of files.
        root: the folder that paths in lists are relative to; None for the list's own.
        val_root: the same for `val`; None for `root`.
        labels: file with the classes' names, where the format has one.
        unreadable: whether an entry that cannot be read is skipped (and reported once) or ends the run.
        cache: keep decoded frames in memory; None for where they fit into a quarter of what is free.
        workers: processes that decode; None for one per core, or none where frames are kept.
    """

    format: str = "folders"
    train: str
    val: str | Share = 0.2
    group: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    root: str | None = None
    val_root: str | None = None
    labels: str | None = None
    unreadable: Literal["skip", "fail"] = "skip"
    augment: AugmentConfig = AugmentConfig()
    cache: bool | None = None
    workers: int | None = Field(None, ge=0, le=1024)

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.format not in FORMATS:
            raise ValueError(f"format '{self.format}' is not known; choose of {', '.join(FORMATS)}")
        return self


class StageConfig(Section):
    """One stage. Defaults are the published optimiser and schedule.

    Attributes:
        stage: a key of `tlee.training.stages.STAGES`.
        batch: videos per step, over all processes.
        accumulate: number of parts a step's videos are computed in, one after the other, to save memory.
        schedule: epochs at which the learning rate drops to a tenth, or `cosine` down to zero.
        warmup: epochs in which the learning rate rises to its value.
        clip: maximum norm of the gradient; None for no limit.
        patience: epochs without a better validation after which the stage ends; None for never.
        distill: share of the branches' loss that comes from imitating the final exit (Hinton et al., "Distilling the
            Knowledge in a Neural Network", 2015), at `temperature`.
        alone: exits learn from their own features alone, whatever feature reuse hands on (see `tlee.training.stages`);
            false for the published losses.
        freeze_backbone: keep the backbone frozen, whatever else the stage trains.
        freeze_norm: the backbone's batch norms keep their statistics. A few hundred clips change those of ImageNet for
            the worse.
        head_rate: the learning rate of all but the backbone, as a multiple of `learning_rate`: what starts from random
            weights has further to go.
        least_steps: the stage has as many more epochs as it takes for so many steps, for small data sets.
        b_knob: the gate's published `b`, the loss up to which a video may stop.
    """

    stage: Literal["frames", "backbone", "branches", "joint", "gate", "all"]
    epochs: int = Field(ge=1, le=MAX_EPOCHS)
    batch: int = Field(16, ge=2, le=65_536)
    accumulate: int = Field(1, ge=1, le=65_536)
    learning_rate: float = Field(1e-3, gt=0, le=1e30)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0, le=1000)
    schedule: Drops | Literal["cosine"] = []
    warmup: float = Field(0, ge=0, le=MAX_EPOCHS)
    clip: float | None = Field(None, gt=0, le=1e9)
    patience: int | None = Field(None, ge=1)
    distill: float = Field(0, ge=0, le=1)
    temperature: float = Field(4.0, ge=1e-3, le=1e6)
    alone: bool = True
    freeze_backbone: bool = False
    freeze_norm: bool = False
    head_rate: float = Field(1.0, gt=0, le=1e4)
    least_steps: int = Field(0, ge=0, le=10_000_000)
    b_knob: float = Field(0.05, gt=0, le=1e6)

    @model_validator(mode="after")
    def _consistent(self) -> StageConfig:
        if self.distill and self.stage in ("backbone", "gate"):
            raise ValueError(f"distill, but stage {self.stage} trains no branch")
        if self.batch % self.accumulate or self.batch == self.accumulate:
            raise ValueError(f"a batch of {self.batch} cannot be shared by {self.accumulate} parts of 2 or more videos")
        if self.warmup > self.epochs:
            raise ValueError(f"warmup {self.warmup:g} is longer than {self.epochs} epochs")
        return self


class TrainingConfig(Config):
    """A model's configuration plus that of its training.

    Attributes:
        recipe: the stages, where none are given, and what else training by them asks for: a key of
            `tlee.training.recipes.RECIPES`.
        init: starting weights: `random`, `imagenet` (the backbone's), or a checkpoint, ours or a published one
            (`.pth.tar`), of which every entry that fits is taken; of a folder, the best one in it.
        precision: mixed precision runs most of the network in half precision, on devices that have it.
        save_steps: number of steps after which the state to resume from is saved; it is after every epoch, too.
    """

    data: DataConfig
    init: str = "imagenet"
    recipe: str = DEFAULT
    stages: list[StageConfig] = Field(min_length=1, max_length=20)
    seed: int = Field(0, ge=0, lt=2**63)
    precision: Precision = "32-true"
    save_steps: int = Field(500, ge=1, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _by_recipe(cls, content: dict[str, Any]) -> dict[str, Any]:
        """What the configuration leaves open is the recipe's."""
        return completed(content)

    @model_validator(mode="after")
    def _stages_fit(self) -> TrainingConfig:
        names = [stage.stage for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError("a stage is named twice")
        if not self.model.branches and "branches" in names:
            raise ValueError("stage branches, but the model has none (model.branches 0); leave the stage out")
        if not self.model.branches and any(stage.distill for stage in self.stages):
            raise ValueError("distill, but the model has no branches to teach (model.branches 0)")
        gated = next((name for name in names if name in ("gate", "all")), None)
        if gated and GATES[self.model.gate] is None:
            raise ValueError(f"stage {gated}, but the gate '{self.model.gate}' has nothing to learn")
        if "frames" in names and self.model.heads == "per_frame":
            raise ValueError("stage frames, but of heads per_frame single frames teach only the first classifier")
        if gated and self.frames.count < 3:
            raise ValueError(f"stage {gated}, but of {self.frames.count} frames none is between the first and the last")
        return self

    def for_model(self, labels: list[str]) -> Config:
        """The configuration stored with the checkpoint."""
        own = {name: getattr(self, name) for name in Config.model_fields}
        return Config(**{**own, "labels": self.labels or labels})
