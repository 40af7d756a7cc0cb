"""Every backbone by name, and the module that cuts one into splits."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tlee.errors import UsageError
from tlee.models.backbones.bn_inception import BN_INCEPTION
from tlee.models.backbones.efficientnet import EFFICIENTNETS
from tlee.models.backbones.efficientnet_lite import EFFICIENTNET_LITES
from tlee.models.backbones.mobilenetv2 import MOBILENETS
from tlee.models.backbones.resnet import RESNETS
from tlee.models.backbones.shift import Exchange, ShiftedBlock, no_past, shift_residual_blocks
from tlee.models.backbones.spec import BackboneSpec
from tlee.models.backbones.vgg import VGG

Shape = tuple[int, ...]  # without the batch
BACKBONES: dict[str, BackboneSpec] = {
    **VGG,
    **BN_INCEPTION,
    **MOBILENETS,
    **EFFICIENTNETS,
    **EFFICIENTNET_LITES,
    **RESNETS,
}


class Backbone(nn.Module):
    """The features of a 2D CNN, cut into `len(cuts) + 1` splits.

    Args:
        name: a key of `BACKBONES`.
        branches: number of exits before the final one, 0 to 3, at the last of the backbone's cuts.
        input_size: side of a frame, pixels.
        width: channel multiplier.
        cuts: number of modules in front of each branch; None for the backbone's own.
        shift: False removes the temporal shift from a backbone that has one.

    Attributes:
        cuts: number of modules in front of each branch.
        shapes: (channels, height, width) of each split's output.
        feature_size: length of the tail's feature.
        state_shapes: for each split, by name, (channels, height, width) of what its shifts pass to the next frame.

    Raises:
        UsageError: cuts outside of the backbone, or a frame size that it does not accept.
    """

    def __init__(
        self,
        name: str,
        branches: int,
        input_size: int,
        width: float = 1.0,
        cuts: Sequence[int] | None = None,
        shift: bool = True,
    ) -> None:
        super().__init__()
        self.name = name
        spec = BACKBONES[name]
        if input_size % spec.size_step:
            remedy = f"set model.input_size to a multiple of {spec.size_step}"
            raise UsageError("backbone", f"{name} does not take frames of {input_size} pixels", remedy)
        self.features = _features(spec, width, shift)
        self.cuts = tuple(cuts or spec.cuts[len(spec.cuts) - branches :])
        self._bounds = (0, *self.cuts, len(self.features))
        if any(a >= b for a, b in zip(self._bounds, self._bounds[1:])):
            remedy = f"set model.cuts to rising numbers from 1 to {len(self.features) - 1}"
            raise UsageError("backbone", f"{name} cannot be cut at {list(self.cuts)}", remedy)
        sizes = _sizes(name, width, shift, self._bounds, input_size)
        self.shapes, self.state_shapes, self.feature_size = sizes
        self.tail = spec.tail(self.shapes[-1][0])

    def load_imagenet(self) -> None:
        """Load ImageNet weights. Layers of the tail without any keep their own.

        Raises:
            UsageError: there are none for this backbone or width, or they cannot be fetched.
        """
        fetch = BACKBONES[self.name].imagenet
        remedy = "train from random weights with init: random"
        if fetch is None:
            raise UsageError(self.name, "torchvision has no ImageNet weights for it", remedy)
        own, weights = self.state_dict(), fetch()
        fitting = {name for name in own if name in weights and weights[name].shape == own[name].shape}
        if not {name for name in own if name.startswith("features.")} <= fitting:
            problem = "its ImageNet weights are of another width"
            raise UsageError(self.name, problem, f"set model.width to 1, or {remedy}")
        self.load_state_dict({name: weights[name] for name in fitting}, strict=False)

    def split_modules(self, index: int) -> dict[int, nn.Module]:
        """The modules of split `index`, by their number in the backbone."""
        return {i: self.features[i] for i in range(self._bounds[index], self._bounds[index + 1])}

    def split(self, index: int, x: Tensor, exchange: Exchange = no_past) -> Tensor:
        """Run split `index` on the output of the one before, or on a normalised (N, 3, H, W) frame."""
        return run_modules(self.split_modules(index), x, exchange)


@functools.lru_cache(maxsize=64)
def _sizes(
    name: str, width: float, shift: bool, bounds: tuple[int, ...], input_size: int
) -> tuple[list[Shape], list[dict[str, Shape]], int]:
    """`shapes`, `state_shapes` and `feature_size` of a `Backbone`.

    Measured by running the backbone on torch's meta device, once, since that takes longer than building it.
    """
    spec, maps, states = BACKBONES[name], [], []
    with torch.device("meta"):
        features = _features(spec, width, shift).eval()
        x = torch.empty(1, 3, input_size, input_size)
        for first, last in zip(bounds, bounds[1:]):
            passed: dict[str, Shape] = {}

            def exchange(name: str, kept: Tensor, passed: dict[str, Shape] = passed) -> Tensor:
                passed[name] = tuple(kept.shape[1:])
                return kept

            x = run_modules({i: features[i] for i in range(first, last)}, x, exchange)
            maps.append(tuple(x.shape[1:]))
            states.append(passed)
        return maps, states, spec.tail(maps[-1][0])(torch.empty_like(x)).shape[1]


def _features(spec: BackboneSpec, width: float, shift: bool) -> nn.Sequential:
    features = spec.features(width)
    if spec.shifts and shift:
        shift_residual_blocks(features)
    return features


def run_modules(modules: dict[int, nn.Module], x: Tensor, exchange: Exchange) -> Tensor:
    """Run modules, by their number in the backbone, in a row; `exchange` serves the temporal shifts."""
    for i, module in modules.items():
        x = module(x, exchange(f"shift{i}", module.kept(x))) if isinstance(module, ShiftedBlock) else module(x)
    return x
