"""Features that a stage does not change, computed once instead of in every epoch.

That is so where neither backbone nor branches nor neck learn, as in stage `gate`. Augmentation then makes no more than
`VARIANTS` versions of each video, taken in turn, whether or not their features fit into memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tlee.data.labelled.loader import Batch, ShuffledSampler
from tlee.models.model import Tlee
from tlee.training.stages import Features, StageModule

MAKERS = ("backbone", "branches", "neck")  # the parts of a model that features come from
VARIANTS = 4


def are_fixed(learning: Iterable[str]) -> bool:
    """Whether a stage in which these parameters learn leaves all features as they are."""
    return not any(name.split(".", 1)[0] in MAKERS for name in learning)


def variants(epochs: int) -> int:
    """Number of versions of each video in a stage of fixed features."""
    return min(epochs, VARIANTS)


def feature_bytes(model: Tlee, videos: int) -> int:
    """Bytes of so many videos' features, in single precision."""
    return 4 * videos * model.config.frames.count * model.exits * model.feature_size


class FeatureModule(StageModule):
    """A stage's loss of features instead of frames."""

    def features(self, frames: Tensor, chosen: Collection[int]) -> Features:
        """The chosen exits of (N, T, exits, D)."""
        return {b: frames[:, :, b] for b in chosen}


@torch.no_grad()
def featured(fabric: Fabric, model: Tlee, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Batches with features of all exits, (N, T, exits, D), in place of the frames. The model is in eval mode."""
    for batch in batches:
        with fabric.autocast():
            found = model.features(fabric.to_device(batch.frames), range(model.exits))
        features = torch.stack([found[b] for b in range(model.exits)], 2).cpu()
        yield batch._replace(frames=features.double() if features.dtype == torch.float64 else features.float())


class FixedFeatures:
    """The training videos' features, from which batches are taken.

    Args:
        shares: for each variant this process's share of the videos, as `evaluation_batches` gives it.
        total: number of videos of all processes.
        first: the epoch whose examples the first variant has.
        sampler: chooses the batches' videos.
    """

    def __init__(
        self, fabric: Fabric, shares: Iterable[Iterable[Batch]], total: int, first: int, sampler: ShuffledSampler
    ) -> None:
        self._first, self._sampler = first, sampler
        self._variants = [_gathered(fabric, list(batches), total) for batches in shares]

    def __iter__(self) -> Iterator[Batch]:
        for keys in self._sampler:
            chosen = torch.tensor([index for _, index in keys])
            yield Batch(*(values[chosen] for values in self._variants[keys[0][0] - self._first]))


def _gathered(fabric: Fabric, batches: list[Batch], total: int) -> Batch:
    """All processes' videos as one batch, in the listing's order."""
    own, world = [torch.cat(parts) for parts in zip(*batches)], fabric.world_size
    if world == 1:
        return Batch(*own)
    share = -(-total // world)
    whole = []
    for values in own:
        padded = torch.cat([values, values.new_zeros((share - len(values), *values.shape[1:]))])
        gathered = fabric.all_gather(padded)
        assert isinstance(gathered, Tensor)
        whole.append(gathered.transpose(0, 1).flatten(0, 1)[:total].cpu())  # of every process one in turn
    return Batch(*whole)
