"""The training stages. Each says which parameters learn, and the loss of one batch.

Source: section "Training, as published" of the paper's code: stages 1.1 (backbone), 1.2 (branches), 1 (joint) and 2
(gate). `frames` and `all` are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tlee.models.model import Tlee
from tlee.training.config import StageConfig

Features = Mapping[int, Tensor]  # (N, T, D) of each exit that takes part
Loss = Callable[[Tlee, Features, Tensor, StageConfig], Tensor]


@dataclass
class Validation:
    """A stage's loss, and the accuracy of every fixed exit, (frames, exits), on videos that it does not learn from."""

    loss: float
    accuracy: Tensor


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        parts: what learns; all else is frozen and in eval mode.
        loss: of one batch.
        score: how good a validation is; the larger, the better.
        exits: the exits whose features the loss needs; None for all.
        single: whether it learns from single frames.
    """

    parts: Callable[[Tlee], list[nn.Module]]
    loss: Loss
    score: Callable[[Validation], float]
    exits: Callable[[Tlee], list[int]] = lambda model: list(range(model.exits))
    single: bool = False


class StageModule(nn.Module):
    """A model with one stage's loss as its forward pass: what is distributed and run in mixed precision."""

    def __init__(self, model: Tlee, config: StageConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = STAGES[config.stage]
        self.config = config

    def forward(self, frames: Tensor, targets: Tensor) -> Tensor:
        """Loss of (N, T, H, W, 3) RGB 0-255 in processing order, and (N, K) shares of each class."""
        features = self.model.features(frames, self.stage.exits(self.model))
        return self.stage.loss(self.model, features, targets, self.config)


@dataclass
class ExitOutput:
    """One exit of one frame of a batch, after feature reuse. `previous` is None at the first exit."""

    frame: int
    exit: int
    z: Tensor  # (N, D)
    previous: Tensor | None


def exits(model: Tlee, features: Features, chosen: Collection[int]) -> Iterator[ExitOutput]:
    """Every chosen exit of every frame, z handed from exit to exit, no exit taken."""
    previous = None
    for t in range(next(iter(features.values())).shape[1]):
        for b in chosen:
            z = features[b][:, t]
            if t > 0:
                z = model.frm(z, previous)
            yield ExitOutput(t, b, z, previous)
            previous = z


def classification_loss(
    model: Tlee, features: Features, targets: Tensor, scored: Collection[int], config: StageConfig
) -> Tensor:
    """Mean cross-entropy of the `scored` exits of every frame; the other ones only hand their z on.

    With `distill`, a branch's cross-entropy gives that share to the divergence from what the last exit says of the
    same frame, branches apart.
    """
    tail = model.exits - 1
    taught = (
        [model.classify(state.z, state.frame).detach() for state in exits(model, features, [tail])]
        if config.distill
        else []
    )
    losses = []
    for state in exits(model, features, list(features)):
        if state.exit not in scored:
            continue
        logits = model.classify(state.z, state.frame)
        loss = functional.cross_entropy(logits, targets)
        if taught and state.exit != tail:
            imitation = _divergence(logits, taught[state.frame], config.temperature)
            loss = (1 - config.distill) * loss + config.distill * imitation
        losses.append(loss)
    return torch.stack(losses).mean()


def _divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    # The square keeps the gradient's size, whatever the temperature (Hinton et al., 2015).
    student, wanted = functional.log_softmax(logits / temperature, 1), functional.softmax(teacher / temperature, 1)
    return temperature**2 * functional.kl_div(student, wanted, reduction="batchmean")


def joint_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1: cross-entropy of all exits of all frames."""
    return classification_loss(model, features, targets, list(features), config)


def backbone_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.1: cross-entropy at the tail, features carried from frame to frame."""
    tail = model.exits - 1
    return classification_loss(model, {tail: features[tail]}, targets, [tail], config)


def branches_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.2: cross-entropy of the branches, features carried through every exit."""
    return classification_loss(model, features, targets, list(range(model.exits - 1)), config)


def gate_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 2: at frame t and exit b the gate shall say 1 where the exit's cross-entropy is at most
    b_knob * exp(t / (3 + b)). Only where the exit rule reads it: not in the first and last frame."""
    losses = []
    last = next(iter(features.values())).shape[1] - 1
    for state in exits(model, features, list(features)):
        if not 0 < state.frame < last:
            continue
        with torch.no_grad():
            loss = functional.cross_entropy(model.classify(state.z, state.frame), targets, reduction="none")
        target = loss <= config.b_knob * math.exp(state.frame / (3 + state.exit))
        assert state.previous is not None
        # Detached: what is judged does not bend to its judge, where it learns in the same pass.
        logit = model.stop_logit(state.z.detach(), state.previous.detach(), state.frame).squeeze(1)
        losses.append(functional.binary_cross_entropy_with_logits(logit, target.to(logit.dtype)))
    return torch.stack(losses).mean()


def all_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Every part at once: the joint loss, and the gate's."""
    return joint_loss(model, features, targets, config) + gate_loss(model, features, targets, config)


@torch.inference_mode()
def fixed_exits(model: Tlee, features: Features) -> Tensor:
    """Logits where every frame leaves at the same exit, (T, exits, N, K)."""
    alone = [[model.classify(state.z, state.frame) for state in exits(model, features, [b])] for b in features]
    return torch.stack([torch.stack(frames) for frames in alone], 1)


def _gate(model: Tlee) -> list[nn.Module]:
    """The gate, or those of the frames in which the rule reads it."""
    if isinstance(model.gate, nn.ModuleList):
        return [*model.gate[:-1]]
    return [model.gate] if model.gate else []


STAGES = {
    # Stage 0, for a backbone without ImageNet weights: all exits together on one random frame per video. From random
    # weights the published stages do not get off the ground (loss at chance after two epochs).
    "frames": Stage(
        lambda m: [m.backbone, m.branches, m.neck, m.classifier],
        joint_loss,
        lambda v: float(v.accuracy[-1].mean()),
        single=True,
    ),
    "backbone": Stage(
        lambda m: [m.backbone, m.neck, m.frm, m.classifier],
        backbone_loss,
        lambda v: float(v.accuracy[-1, -1]),
        exits=lambda m: [m.exits - 1],
    ),
    "branches": Stage(lambda m: [m.branches], branches_loss, lambda v: float(v.accuracy[-1, :-1].mean())),
    "joint": Stage(
        lambda m: [m.backbone, m.branches, m.neck, m.frm, m.classifier],
        joint_loss,
        lambda v: float(v.accuracy[-1].mean()),
    ),
    "gate": Stage(_gate, gate_loss, lambda v: -v.loss),
    "all": Stage(
        lambda m: [m.backbone, m.branches, m.neck, m.frm, m.classifier, *_gate(m)],
        all_loss,
        lambda v: float(v.accuracy[-1].mean()),
    ),
}
