"""Whether a trained model's exits answer better than chance: what losses and accuracies do not say by themselves."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric

from tlee.data.labelled.listing import Listing
from tlee.data.labelled.loader import Batch
from tlee.models.model import Tlee
from tlee.reports.exit_faults import exit_faults
from tlee.training.stages import across, fixed_exits


@torch.inference_mode()
def faults_on_one_frame(fabric: Fabric, model: Tlee, batches: Iterable[Batch], videos: Listing) -> list[str]:
    """A line for each exit that answers the first frame of these videos by chance or with one class.

    Args:
        batches: this process's share of the videos, with frames.
    """
    model.eval()
    # By video; 0 for those of other processes, and those that cannot be read.
    answers = torch.zeros((len(videos.entries), model.exits), dtype=torch.int64, device=fabric.device)
    for batch in batches:
        readable = batch.targets.sum(1) > 0
        if not readable.any():
            continue
        with fabric.autocast():
            features = model.features(fabric.to_device(batch.frames[readable, :1]), range(model.exits))
            found = fixed_exits(model, features).argmax(-1)[0]  # (exits, N)
        answers[batch.entry[readable].to(fabric.device)] = found.T + 1
    answered = across(fabric, answers, "sum")
    known = [i for i in range(len(answered)) if answered[i, 0]]
    labels = [videos.entries[i].labels for i in known]
    return exit_faults(answered[known].numpy() - 1, labels, videos.classes)
