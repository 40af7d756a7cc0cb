"""Gates: whether the video can stop, from an exit's feature and the one before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearGate(nn.Module):
    """The published `gm`: one shared linear layer on both features, concatenated, one more to a score."""

    def __init__(self, feature_size: int, hidden: int = 32) -> None:
        super().__init__()
        self.reduce = nn.Linear(feature_size, hidden)
        self.decide = nn.Linear(2 * hidden, 1)

    def forward(self, z: Tensor, previous: Tensor) -> Tensor:
        """Two (N, D) to (N, 1), the logit of the probability that the video can stop.

        Args:
            z: the exit's feature after the FRM.
            previous: the previous exit's.
        """
        return self.decide(torch.cat([self.reduce(z), self.reduce(previous)], dim=1))


GATES: dict[str, type[nn.Module]] = {"gm": LinearGate}
