"""The training stages: for each, which parameters learn, the loss of one batch, and the validation.

Source: section "Training, as published" of the paper's code: stages 1.1 (backbone), 1.2 (branches), 1 (joint) and 2
(gate). `frames` and `all` are ours, and so is `alone`, how exits learn unless the configuration says otherwise: as
published, an exit's features are combined with those handed on from all exits before it. With maximum reuse that looks
good whatever the exit itself contributes, so that branches need not learn anything, and on small sets do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from tlee.data.labelled.loader import Batch
from tlee.models.model import Tlee
from tlee.training.config import StageConfig

Features = Mapping[int, Tensor]  # (N, T, D) of each exit that takes part
Loss = Callable[[Tlee, Features, Tensor, StageConfig], Tensor]


class Validation(NamedTuple):
    """A stage's loss on the validation videos, and the accuracy where all frames take the same exit."""

    loss: float
    accuracy: Tensor  # (frames, exits)


def mean_accuracy(found: Validation) -> float:
    """After the last frame, over all exits."""
    return float(found.accuracy[-1].mean())


@dataclass(frozen=True)
class Stage:
    """A stage."""

    parts: Callable[[Tlee], list[nn.Module]]  # the parts that learn; all others are frozen and in eval mode
    loss: Loss  # of one batch
    score: Callable[[Validation], float] = mean_accuracy  # of a validation; higher is better
    exits: Callable[[Tlee], Collection[int]] = lambda m: range(m.exits)  # the exits whose features the loss needs
    single: bool = False  # whether it learns from single frames


class StageModule(nn.Module):
    """A model with one stage's loss as its forward pass, which Fabric distributes and runs in mixed precision."""

    def __init__(self, model: Tlee, config: StageConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = STAGES[config.stage]
        self.config = config

    def forward(self, frames: Tensor, targets: Tensor) -> Tensor:
        """Loss of (N, T, H, W, 3) RGB 0-255 in processing order, and (N, K) shares of each class."""
        features = self.features(frames, self.stage.exits(self.model))
        return self.stage.loss(self.model, features, targets, self.config)

    def features(self, frames: Tensor, chosen: Collection[int]) -> Features:
        """The chosen exits' features of every frame."""
        return self.model.features(frames, chosen)


class ExitOutput(NamedTuple):
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


def separate_outputs(model: Tlee, features: Features) -> Iterator[ExitOutput]:
    """Every exit of every frame twice, without reuse and with reuse of its own features alone; once in the first frame,
    where there is nothing to reuse."""
    for b, own in features.items():
        yield from exit_outputs(model, features, [b])
        for t in range(1, own.shape[1]):
            yield ExitOutput(t, b, own[:, t], None)


def classification_loss(
    model: Tlee, features: Features, targets: Tensor, config: StageConfig, scored: Collection[int] | None = None
) -> Tensor:
    """Mean cross-entropy of the `scored` exits of every frame, None for all; the others only pass their z on.

    With `alone`, nothing is handed on from exit to exit: each answers from its own features of a frame, and from its
    own of all frames up to it. With `distill`, that share of a branch's loss is the divergence from the final exit's
    answer to the same frame. The final exit is computed without the branches for this.
    """
    final, teacher = model.exits - 1, []
    if config.distill:
        teacher = [model.classify(o.z, o.frame).detach() for o in exit_outputs(model, features, [final])]
    losses = []
    scored = features if scored is None else scored
    for t, b, z, _ in separate_outputs(model, features) if config.alone else exit_outputs(model, features, features):
        if b not in scored:
            continue
        logits = model.classify(z, t)
        loss = functional.cross_entropy(logits, targets)
        if teacher and b != final:
            # The square makes the gradient's size independent of the temperature (Hinton et al., 2015).
            student, wanted = (logits / config.temperature).log_softmax(1), (teacher[t] / config.temperature).softmax(1)
            imitation = config.temperature**2 * functional.kl_div(student, wanted, reduction="batchmean")
            loss = (1 - config.distill) * loss + config.distill * imitation
        losses.append(loss)
    return torch.stack(losses).mean()


def backbone_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.1: cross-entropy at the final exit, features reused from frame to frame."""
    final = model.exits - 1
    return classification_loss(model, {final: features[final]}, targets, config)


def branches_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 1.2: cross-entropy of the branches, features reused from exit to exit."""
    return classification_loss(model, features, targets, config, range(model.exits - 1))


def gate_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stage 2: at frame t and exit b the gate's target is 1 where the exit's cross-entropy is at most
    b_knob * exp(t / (3 + b)). Only where the exit rule reads the gate: not in the first and last frame."""
    losses = []
    last = next(iter(features.values())).shape[1] - 1
    for t, b, z, previous in exit_outputs(model, features, list(features)):
        if not 0 < t < last:
            continue
        with torch.no_grad():
            loss = functional.cross_entropy(model.classify(z, t), targets, reduction="none")
        target = loss <= config.b_knob * math.exp(t / (3 + b))
        assert previous is not None
        # Detached: in a stage that trains both, the gate's loss must not change the features it judges.
        logit = model.stop_logit(z.detach(), previous.detach(), t).squeeze(1)
        losses.append(functional.binary_cross_entropy_with_logits(logit, target.to(logit.dtype)))
    return torch.stack(losses).mean()


def all_loss(model: Tlee, features: Features, targets: Tensor, config: StageConfig) -> Tensor:
    """Stages 1 and 2 together."""
    return classification_loss(model, features, targets, config) + gate_loss(model, features, targets, config)


@torch.inference_mode()
def fixed_exits(model: Tlee, features: Features) -> Tensor:
    """Logits where every frame takes the same exit, (T, exits, N, K)."""
    exits = [[model.classify(o.z, o.frame) for o in exit_outputs(model, features, [b])] for b in features]
    return torch.stack([torch.stack(frames) for frames in exits], 1)


def across(fabric: Fabric, value: Tensor, how: str) -> Tensor:
    """A value over all processes, on the CPU: its `sum`, `mean` or `max`."""
    reduced = fabric.all_reduce(value, reduce_op=how)
    assert isinstance(reduced, Tensor)
    return reduced.cpu()


@torch.inference_mode()
def validate(
    fabric: Fabric, module: StageModule, batches: Iterable[Batch], on_unreadable: Callable[[Tensor], None]
) -> Validation:
    """A stage's loss and the accuracy of every fixed exit, over all processes' videos. A stage that learns from single
    frames is validated on the first one of each video.

    Args:
        batches: this process's share.
        on_unreadable: called with each batch's `unreadable`.
    """
    model, stage = module.model.eval(), module.stage
    length = 1 if stage.single else model.config.frames.count
    # In double precision, so that the total does not depend on how videos are shared among processes.
    sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)  # videos, loss
    right = torch.zeros((length, model.exits), dtype=torch.float64, device=fabric.device)
    for batch in batches:
        on_unreadable(batch.unreadable)
        readable = batch.targets.sum(1) > 0
        clips, targets = fabric.to_device((batch.frames[readable, :length], batch.targets[readable]))
        if not len(clips):
            continue
        with fabric.autocast():
            features = module.features(clips, range(model.exits))
            loss = stage.loss(model, features, targets, module.config)
            answers = fixed_exits(model, features).argmax(-1)  # (T, exits, N)
        sums += torch.stack([torch.ones_like(loss), loss]).double() * len(clips)
        right += (targets[torch.arange(len(clips)), answers] > 0).sum(-1)
    videos, loss = across(fabric, sums, "sum").tolist()
    accuracy = across(fabric, right, "sum") / max(1, videos)
    return Validation(loss / max(1, videos), accuracy)


def _gate(model: Tlee) -> list[nn.Module]:
    """The gate, or the gates of those frames in which the exit rule reads them."""
    if isinstance(model.gate, nn.ModuleList):
        return [*model.gate[:-1]]
    return [model.gate] if model.gate else []


STAGES = {
    # For a backbone without ImageNet weights: all exits together on one random frame per video. From random weights the
    # published stages do not learn (loss at chance after two epochs).
    "frames": Stage(lambda m: [m.backbone, m.branches, m.neck, m.classifier], classification_loss, single=True),
    "backbone": Stage(
        lambda m: [m.backbone, m.neck, m.frm, m.classifier],
        backbone_loss,
        lambda v: float(v.accuracy[-1, -1]),
        exits=lambda m: [m.exits - 1],
    ),
    "branches": Stage(lambda m: [m.branches], branches_loss, lambda v: float(v.accuracy[-1, :-1].mean())),
    "joint": Stage(lambda m: [m.backbone, m.branches, m.neck, m.frm, m.classifier], classification_loss),
    "gate": Stage(_gate, gate_loss, lambda v: -v.loss),
    "all": Stage(lambda m: [m.backbone, m.branches, m.neck, m.frm, m.classifier, *_gate(m)], all_loss),
}
