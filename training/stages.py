"""The published training stages. Each says which parameters learn, and the loss of one batch.

Source: section "Training, as published" of the paper's code: stages 1.1, 1.2 and 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlee.models.model import Tlee
from tlee.training.config import StageConfig

Loss = Callable[[Tlee, Tensor, Tensor, StageConfig], Tensor]


@dataclass(frozen=True)
class Stage:
    """A stage: the parts that learn (all else is frozen and in eval mode) and the loss."""

    parts: Callable[[Tlee], list[nn.Module]]
    loss: Loss


@dataclass
class ExitState:
    """One exit of one frame of a batch, after feature reuse. `previous` is None at the first exit."""

    frame: int
    exit: int
    z: Tensor  # (N, D)
    previous: Tensor | None


def exits(model: Tlee, frames: Tensor, chosen: list[int]) -> Iterator[ExitState]:
    """Every chosen exit of every frame, z handed from exit to exit, no exit taken.

    Args:
        frames: (N, T, H, W, 3) RGB 0-255, in processing order.
        chosen: the exits that take part.
    """
    features = model.features(frames, chosen)
    previous = None
    for t in range(frames.shape[1]):
        for b in chosen:
            z = features[b][:, t]
            if t > 0:
                z = model.frm(z, previous)
            yield ExitState(t, b, z, previous)
            previous = z


def classification_loss(model: Tlee, frames: Tensor, labels: Tensor, chosen: list[int], scored: list[int]) -> Tensor:
    """Mean cross-entropy of the `scored` exits of every frame; the other `chosen` ones only hand their z on."""
    losses = [
        functional.cross_entropy(model.classifier(state.z), labels)
        for state in exits(model, frames, chosen)
        if state.exit in scored
    ]
    return torch.stack(losses).mean()


def frames_loss(model: Tlee, frames: Tensor, labels: Tensor, config: StageConfig) -> Tensor:
    """Stage 0, for a backbone without ImageNet weights: all exits together on one random frame per video.
    From random weights the published stages do not get off the ground (loss at chance after two epochs)."""
    picked = torch.randint(frames.shape[1], (len(frames),))
    single = frames[torch.arange(len(frames)), picked][:, None]
    every = list(range(model.exits))
    return classification_loss(model, single, labels, every, every)


def backbone_loss(model: Tlee, frames: Tensor, labels: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.1: cross-entropy at the tail, features carried from frame to frame."""
    tail = [model.exits - 1]
    return classification_loss(model, frames, labels, tail, tail)


def branches_loss(model: Tlee, frames: Tensor, labels: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.2: cross-entropy of the branches, features carried through every exit."""
    every = list(range(model.exits))
    return classification_loss(model, frames, labels, every, every[:-1])


def gate_loss(model: Tlee, frames: Tensor, labels: Tensor, config: StageConfig) -> Tensor:
    """Stage 2: at frame t and exit b the gate shall say 1 where the exit's cross-entropy is at most
    b_knob * exp(t / (3 + b)). Only where the exit rule reads it: not in the first and last frame."""
    gate = model.gate
    assert gate is not None  # the configuration was checked
    losses = []
    last = frames.shape[1] - 1
    for state in exits(model, frames, list(range(model.exits))):
        if not 0 < state.frame < last:
            continue
        loss = functional.cross_entropy(model.classifier(state.z), labels, reduction="none")
        target = loss <= config.b_knob * math.exp(state.frame / (3 + state.exit))
        logit = gate(state.z, state.previous).squeeze(1)
        losses.append(functional.binary_cross_entropy_with_logits(logit, target.float()))
    return torch.stack(losses).mean()


STAGES = {
    "frames": Stage(lambda m: [m.backbone, m.branches, m.neck, m.classifier], frames_loss),
    "backbone": Stage(lambda m: [m.backbone, m.neck, m.frm, m.classifier], backbone_loss),
    "branches": Stage(lambda m: [m.branches], branches_loss),
    "gate": Stage(lambda m: [m.gate] if m.gate else [], gate_loss),
}
