"""One training run: the configured stages in order, a checkpoint after each."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from tlee.errors import UsageError
from tlee.models.checkpoint import save_checkpoint
from tlee.models.model import Tlee
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.data import ClassFolders, loader
from tlee.training.evaluate import accuracy_per_exit
from tlee.training.stages import STAGES


def train(config: TrainingConfig, output: str | Path) -> Tlee:
    """Train a model by the configured stages and write it to `output` after each.

    The same configuration, data and seed give the same weights on the same machine.

    Raises:
        UsageError: the data does not fit the configuration, ImageNet weights cannot be had, or `output` cannot be
            written.
        InputError: a clip cannot be decoded.
    """
    _seed(config.seed)
    data = ClassFolders(config.data.train, config.frame_spec(), config.data.cache)
    validation = ClassFolders(config.data.val, config.frame_spec(), config.data.cache)
    for folder, found in ((config.data.train, data.classes), (config.data.val, validation.classes)):
        if len(found) != config.model.classes or found != data.classes:
            remedy = "give train and val the same class folders, as many as model.classes"
            raise UsageError(folder, f"{len(found)} class folders for {config.model.classes} classes", remedy)
    model = Tlee(config.for_model(data.classes))
    if config.init == "imagenet":
        model.backbone.load_imagenet()
    history: list[dict[str, object]] = []
    save_checkpoint(output, model, {"stages": history})  # better to learn now that it cannot be written
    val = loader(validation, 32, False, config.data.workers)
    for stage in config.stages:
        batches = loader(data, stage.batch, True, config.data.workers, config.seed)
        losses = train_stage(model, batches, stage)
        accuracy = accuracy_per_exit(model, val)
        history.append({**stage.model_dump(), "loss": losses, "val_accuracy": accuracy})
        save_checkpoint(output, model, {"seed": config.seed, "stages": history})
        shown = ", ".join(f"{value:.1%}" for value in accuracy[-1])
        tqdm.write(f"{stage.stage}: loss {losses[-1]:.4f}, validation accuracy in the last frame per exit: {shown}")
    return model


def train_stage(model: Tlee, batches: DataLoader, config: StageConfig) -> list[float]:
    """Train one stage.

    Returns:
        Mean loss of every epoch.

    Raises:
        UsageError: the loss is no longer a number.
    """
    stage = STAGES[config.stage]
    parts = stage.parts(model)
    model.requires_grad_(False).eval()
    for part in parts:
        part.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(
        parameters, config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, config.schedule, gamma=0.1)
    epochs = []
    for epoch in range(config.epochs):
        for part in parts:
            part.train()
        total = 0.0
        progress = tqdm(batches, desc=f"{config.stage} {epoch + 1}/{config.epochs}", leave=False, disable=None)
        for frames, labels in progress:
            loss = stage.loss(model, frames, labels, config)
            if not torch.isfinite(loss):
                raise UsageError(config.stage, "the loss is no longer a number", "lower its learning_rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            total += loss.item()
            progress.set_postfix(loss=f"{loss.item():.4f}")
        schedule.step()
        epochs.append(total / len(batches))
        tqdm.write(f"{config.stage} epoch {epoch + 1}/{config.epochs}: loss {epochs[-1]:.4f}")
    model.eval()
    return epochs


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
