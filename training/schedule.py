"""How long a stage trains, and at which rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from tlee.errors import UsageError
from tlee.models.model import Tlee
from tlee.training.config import StageConfig, TrainingConfig


def learning_rate(config: StageConfig, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step of an epoch of `steps` steps; epochs and steps count from 0.

    Examples:
        >>> stage = StageConfig(stage="backbone", epochs=4, learning_rate=0.1, schedule="cosine", warmup=1)
        >>> [round(learning_rate(stage, epoch, 0, 10), 3) for epoch in range(4)]
        [0.01, 0.1, 0.075, 0.025]
    """
    done = epoch + step / steps
    rate = config.learning_rate * min(1.0, (done + 1 / steps) / config.warmup if config.warmup else 1.0)
    if config.schedule == "cosine":
        share = max(0.0, done - config.warmup) / max(1e-9, config.epochs - config.warmup)
        return rate * (1 + math.cos(math.pi * share)) / 2
    return rate * 0.1 ** sum(epoch >= drop for drop in config.schedule)


def fitting_stages(config: TrainingConfig, videos: int) -> TrainingConfig:
    """The configuration with as many epochs as its stages' `least_steps` take for so many videos."""
    stages = []
    for stage in config.stages:
        epochs = math.ceil(stage.least_steps / max(1, videos // stage.batch))
        stages.append(stage.model_copy(update={"epochs": max(stage.epochs, epochs)}))
    return config.model_copy(update={"stages": stages})


def fitting_batch(config: StageConfig, videos: int, world: int) -> int:
    """Videos per step: the configured number, or less where there are fewer.

    Raises:
        UsageError: they cannot be shared among the processes.
    """
    parts = world * config.accumulate
    if config.batch % parts or config.batch < 2 * parts:
        problem = f"a batch of {config.batch} cannot be shared by {world} processes in {config.accumulate} parts"
        raise UsageError(f"stage {config.stage}", problem, f"choose a multiple of {parts}, at least {2 * parts}")
    batch = min(config.batch, videos // parts * parts)
    if batch < 2 * parts:
        problem = f"{videos} training videos are too few for {parts} parts of 2 or more"
        raise UsageError(f"stage {config.stage}", problem, "add clips, or use fewer processes")
    return batch


def optimiser_of(model: Tlee, learning: Mapping[str, nn.Parameter], config: StageConfig) -> torch.optim.Optimizer:
    """A stage's optimiser; each of its groups has a `scale`, its learning rate as a multiple of the stage's.

    Args:
        learning: the model's parameters that learn, by name.
    """
    of_backbone = {id(parameter) for parameter in model.backbone.parameters()}
    groups = []
    for scale, inside in ((1.0, True), (config.head_rate, False)):
        chosen = [parameter for parameter in learning.values() if (id(parameter) in of_backbone) == inside]
        groups += [{"params": chosen, "scale": scale}] if chosen else []
    return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay)
