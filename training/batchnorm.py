"""Batch norm over the videos of all processes, so that results do not depend on their number."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class CpuSyncBatchNorm(_BatchNorm):
    """Synchronised batch norm for inputs of any rank; torch's own runs on GPUs only.

    All processes have batches of one size. Gradients flow through the exchanged statistics.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) of this process's share, normalised by the mean and variance over all shares."""
        if not self.training:
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        shape = (1, -1) + (1,) * (input.dim() - 2)
        world = torch.distributed.get_world_size()
        mean = _Sum.apply(input.mean(dims)) / world
        centred = input - mean.view(shape)
        variance = _Sum.apply(centred.square().mean(dims)) / world
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        count = world * input.numel() // input.shape[1]
        unbiased = variance.detach() * count / max(1, count - 1)  # as torch's
        self.running_mean.lerp_(mean.detach(), self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        return centred * scale.view(shape) + self.bias.view(shape)


def synchronise(module: nn.Module, device: str) -> nn.Module:
    """Replace every batch norm by a synchronised one with its weights. `device`: cpu or cuda."""
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            assert child.momentum is not None
            synced = CpuSyncBatchNorm(child.num_features, child.eps, child.momentum)
            synced.load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            synchronise(child, device)
    return module
