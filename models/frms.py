"""Feature reuse modules: they combine an exit's feature and that of the exit before, both (N, D), into one.

Source: the paper's text where the published code departs from it (`attention`, its `afrm`, and `add`, its `na`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class Elementwise(nn.Module):
    """Combines the features number by number, with nothing to learn."""

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.combine = combine

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return self.combine(feature, previous)


class EMAFRM(nn.Module):
    """Moving average with a learnt weight `beta` of the past."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(0.999))

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        return self.beta * previous + (1 - self.beta) * feature


class AttentionFRM(nn.Module):
    """Mean, weighted by a learnt score of each feature."""

    def __init__(self, feature_size: int, hidden: int = 256) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.ReLU(), nn.Linear(feature_size, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        present, past = self.score(feature).sigmoid(), self.score(previous).sigmoid()
        return (present * feature + past * previous) / (present + past)


# Each takes the feature's length.
FRMS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda size: Elementwise(torch.maximum),  # the published default
    "mean": lambda size: Elementwise(lambda feature, previous: (feature + previous) / 2),
    "ema": EMAFRM,
    "attention": AttentionFRM,
    "add": lambda size: Elementwise(lambda feature, previous: feature.abs() + previous.abs()),  # the naive baseline
    "none": lambda size: Elementwise(lambda feature, previous: feature),
}
