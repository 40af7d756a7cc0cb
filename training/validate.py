"""Validation during training."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tlee.data.labelled.loader import Batch
from tlee.training.stages import StageModule, Validation, fixed_exits


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
        on_unreadable: is given each batch's `unreadable`.
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
            features = model.features(clips, range(model.exits))
            loss = stage.loss(model, features, targets, module.config)
            answers = fixed_exits(model, features).argmax(-1)  # (T, exits, N)
        sums += torch.stack([torch.ones_like(loss), loss]).double() * len(clips)
        right += (targets[torch.arange(len(clips)), answers] > 0).sum(-1)
    videos, loss = across(fabric, sums, "sum").tolist()
    accuracy = across(fabric, right, "sum") / max(1, videos)
    return Validation(loss / max(1, videos), accuracy)
