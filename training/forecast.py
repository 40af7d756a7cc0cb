"""How long a run will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tlee.models.model import Tlee
from tlee.training.config import StageConfig
from tlee.training.features import are_fixed, variants
from tlee.training.stages import STAGES


class Work(NamedTuple):
    """What a stage computes, in passes of one frame through the network."""

    once: float  # before its first epoch
    epoch: float  # in each
    epochs: int


def planned_work(model: Tlee, config: StageConfig, train: int, val: int) -> Work:
    """What a stage computes for so many videos; a backward pass counts as two forward ones."""
    stage = STAGES[config.stage]
    frames = 1 if stage.single else model.config.frames.count
    parts = {id(part) for part in stage.parts(model)}
    learning = {name for name, part in model.named_children() if id(part) in parts}
    if config.freeze_backbone:
        learning.discard("backbone")
    if are_fixed(learning):
        return Work((variants(config.epochs) * train + val) * frames, 0, config.epochs)
    return Work(0, ((3 if "backbone" in learning else 1) * train + val) * frames, config.epochs)


class Forecast:
    """How long the rest of a run takes, from the epochs that it has done.

    Args:
        stages: of the run, in order.

    Examples:
        >>> forecast = Forecast([Work(0, 100, 3), Work(50, 0, 2)])
        >>> forecast.add(0, seconds=60)
        >>> forecast.left(0, done=1)
        150.0
    """

    def __init__(self, stages: Sequence[Work]) -> None:
        self._stages = stages
        self._pace = self._latest = 0.0  # seconds of a pass, and of the latest epoch

    def add(self, stage: int, seconds: float) -> None:
        """An epoch of stage number `stage` took this long, with its validation."""
        self._latest = seconds
        if self._stages[stage].epoch:
            self._pace = seconds / self._stages[stage].epoch

    def left(self, stage: int, done: int) -> float:
        """Seconds to go after `done` epochs of a stage."""
        later = sum(work.once + work.epoch * work.epochs for work in self._stages[stage + 1 :])
        return self._latest * (self._stages[stage].epochs - done) + self._pace * later


def about(seconds: float) -> str:
    """A time in words.

    Examples:
        >>> about(20), about(100), about(8000)
        ('less than a minute', 'about 2 minutes', 'about 2 h 13 min')
    """
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 100:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    return f"about {minutes // 60} h {minutes % 60} min"
