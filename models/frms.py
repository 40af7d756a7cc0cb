"""Feature reuse modules: what an exit's feature takes over from the exit before."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaxFRM(nn.Module):
    """Elementwise maximum (published `mp`, `frm`), the published default."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        """Two (N, D) to (N, D)."""
        return torch.maximum(feature, previous)


class MeanFRM(nn.Module):
    """Elementwise mean (published `ap`)."""

    def forward(self, feature: Tensor, previous: Tensor) -> Tensor:
        """Two (N, D) to (N, D)."""
        return (feature + previous) / 2


FRMS: dict[str, type[nn.Module]] = {"max": MaxFRM, "mean": MeanFRM}
