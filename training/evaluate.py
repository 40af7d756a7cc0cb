"""How well a model answers while it is being trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from tlee.models.model import Tlee
from tlee.training.stages import exits


@torch.inference_mode()
def accuracy_per_exit(model: Tlee, batches: Iterable[tuple[Tensor, Tensor]]) -> list[list[float]]:
    """Share of videos that each exit gets right, no exit taken.

    Returns:
        One list per frame in processing order, one number per exit.
    """
    model.eval()
    right: list[list[float]] = []
    total = 0
    for frames, labels in batches:
        total += len(labels)
        right = right or [[0.0] * model.exits for _ in range(frames.shape[1])]
        for state in exits(model, frames, list(range(model.exits))):
            correct = model.classifier(state.z).argmax(1) == labels
            right[state.frame][state.exit] += int(correct.sum())
    return [[count / total for count in row] for row in right]
