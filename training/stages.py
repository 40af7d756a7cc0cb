"""The training stages: for each, which parameters learn, and the loss of one batch.

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
    """A stage's loss on the validation videos, and the accuracy where all frames take the same exit."""

    loss: float
    accuracy: Tensor  # (frames, exits)


@dataclass(frozen=True)
class Stage:
    """A stage.

    Attributes:
        parts: the parts that learn; all others are frozen and in eval mode.
        loss: of one batch.
        score: of a validation; higher is better.
        exits: the exits whose features the loss needs.
        single: whether it learns from single frames.
    """

    parts: Callable[[Tlee], list[nn.Module]]
    loss: Loss
    score: Callable[[Validation], float]
    exits: Callable[[Tlee], list[int]] = lambda model: list(range(model.exits))
    single: bool = False


class StageModule(nn.Module):
    """A model with one stage's loss as its forward pass, which Fabric distributes and runs in mixed precision."""

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
    """One exit of one frame of a batch, after feature reuse."""

    frame: int
    exit: int
    z: Tensor  # (N, D)
    previous: Tensor | None  # z of the exit before; None at the first exit


def exit_outputs(model: Tlee, features: Features, chosen: Collection[int]) -> Iterator[ExitOutput]:
    """The chosen exits of every frame, where no video stops: z is passed on from exit to exit."""
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
    """Mean cross-entropy of the `scored` exits of every frame; the others only pass their z on.

    With `distill`, that share of a branch's loss is the divergence from the final exit's answer to the same frame. The
    final exit is computed without the branches for this.
    """
    final, teacher = model.exits - 1, []
    if config.distill:
        outputs = exit_outputs(model, features, [final])
        teacher = [model.classify(output.z, output.frame).detach() for output in outputs]
    losses = []
    for output in exit_outputs(model, features, list(features)):
        if output.exit not in scored:
            continue
        logits = model.classify(output.z, output.frame)
        loss = functional.cross_entropy(logits, targets)
        if teacher and output.exit != final:
            imitation = _divergence(logits, teacher[output.frame], config.temperature)
            loss = (1 - config.distill) * loss + config.distill * imitation
        losses.append(loss)
    return torch.stack(losses).mean()


def _divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    # The square makes the gradient's size independent of the temperature (Hinton et al., 2015).
    student, target = functional.log_softmax(logits / temperature, 1), functional.softmax(teacher / temperature, 1)
    return temperature**2 * functional.kl_div(student, target, reduction="batchmean")


def joint_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1: cross-entropy of all exits of all frames."""
    return classification_loss(model, features, targets, list(features), config)


def backbone_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.1: cross-entropy at the final exit, features reused from frame to frame."""
    final = model.exits - 1
    return classification_loss(model, {final: features[final]}, targets, [final], config)


def branches_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.2: cross-entropy of the branches, features reused from exit to exit."""
    return classification_loss(model, features, targets, list(range(model.exits - 1)), config)


def gate_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 2: at frame t and exit b the gate's target is 1 where the exit's cross-entropy is at most
    b_knob * exp(t / (3 + b)). Only where the exit rule reads the gate: not in the first and last frame."""
    losses = []
    last = next(iter(features.values())).shape[1] - 1
    for output in exit_outputs(model, features, list(features)):
        if not 0 < output.frame < last:
            continue
        with torch.no_grad():
            loss = functional.cross_entropy(model.classify(output.z, output.frame), targets, reduction="none")
        target = loss <= config.b_knob * math.exp(output.frame / (3 + output.exit))
        assert output.previous is not None
        # Detached: in a stage that trains both, the gate's loss must not change the features it judges.
        logit = model.stop_logit(output.z.detach(), output.previous.detach(), output.frame).squeeze(1)
        losses.append(functional.binary_cross_entropy_with_logits(logit, target.to(logit.dtype)))
    return torch.stack(losses).mean()


def all_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """The joint loss plus the gate's."""
    return joint_loss(model, features, targets, config) + gate_loss(model, features, targets, config)


@torch.inference_mode()
def fixed_exits(model: Tlee, features: Features) -> Tensor:
    """Logits where every frame takes the same exit, (T, exits, N, K)."""
    exits = [[model.classify(o.z, o.frame) for o in exit_outputs(model, features, [b])] for b in features]
    return torch.stack([torch.stack(frames) for frames in exits], 1)


def _gate(model: Tlee) -> list[nn.Module]:
    """The gate, or the gates of those frames in which the exit rule reads them."""
    if isinstance(model.gate, nn.ModuleList):
        return [*model.gate[:-1]]
    return [model.gate] if model.gate else []


STAGES = {
    # For a backbone without ImageNet weights: all exits together on one random frame per video. From random weights the
    # published stages do not learn (loss at chance after two epochs).
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
