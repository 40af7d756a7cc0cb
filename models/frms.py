"""Feature reuse modules: they combine an exit's feature with that of the exit before.

Source: the paper's text where the published code departs from it (`afrm`, `na`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FRM(nn.Module):
    """Combines two features (N, D) into one, D = `feature_size`."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()


class NoFRM(FRM):
    """The feature alone."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return feature


class MaxFRM(FRM):
    """Elementwise maximum, the published default."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return torch.maximum(feature, previous)


class MeanFRM(FRM):
    """Elementwise mean."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return (feature + previous) / 2


class EMAFRM(FRM):
    """Moving average with a learnt weight `beta` of the past."""

    def __init__(self, feature_size: int) -> None:
        super().__init__(feature_size)
        self.beta = nn.Parameter(torch.tensor(0.999))

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return self.beta * previous + (1 - self.beta) * feature


class AttentionFRM(FRM):
    """Mean, weighted by a learnt score of each feature."""

    def __init__(self, feature_size: int, hidden: int = 256) -> None:
        super().__init__(feature_size)
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(feature_size, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        present, past = self.score(feature).sigmoid(), self.score(previous).sigmoid()
        return (present * feature + past * previous) / (present + past)


class AddFRM(FRM):
    """Sum of absolute values, the naive baseline."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return feature.abs() + previous.abs()


FRMS: dict[str, type[FRM]] = {
    "max": MaxFRM,
    "mean": MeanFRM,
    "ema": EMAFRM,
    "attention": AttentionFRM,
    "add": AddFRM,
    "none": NoFRM,
}
