"""The TLEE model, and its inference with the exit rule."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tlee.errors import UsageError
from tlee.inference import ExitValues, Stages
from tlee.models.backbones import Backbone
from tlee.models.backbones.shift import clip_past, no_past
from tlee.models.branches import BRANCHES
from tlee.models.config import Config
from tlee.models.frms import FRMS
from tlee.models.gates import GATES, FrameExitGate

MAX_PARAMETERS = 400_000_000  # 1.6 GB; VGG-16, the largest backbone, has 140 million


class Normalise(nn.Module):
    """Input normalisation."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        deviation = torch.tensor(std)
        self.scale: Tensor
        self.shift: Tensor
        # Not in the state dictionary: the configuration has them.
        self.register_buffer("scale", (1 / (255 * deviation)).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", (-torch.tensor(mean) / deviation).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) RGB 0-255 to (N, 3, H, W), zero mean and unit deviation."""
        return frames.permute(0, 3, 1, 2).float() * self.scale + self.shift


class Tlee(nn.Module):
    """Backbone, branches, neck, feature reuse, classifier and gate.

    Exit b is branch b for b < branches, and the final exit, behind the backbone's tail, for b = branches.

    Args:
        config: what to build. Weights are random.

    Raises:
        UsageError: the parts do not fit together: cuts, frame size, branches.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.config = config
        self.exits = model.branches + 1
        self.normalise = Normalise(config.frames.mean, config.frames.std)
        self.backbone = Backbone(model.backbone, model.branches, model.input_size, model.width, model.cuts, model.shift)
        size = self.backbone.feature_size
        self.branches = nn.ModuleList(
            BRANCHES[model.branch](shape, size, model.branch_scale, model.crm_num)
            for shape in self.backbone.shapes[:-1]
        )
        self.neck: nn.Module = nn.Identity()
        if model.neck:
            self.neck = nn.Sequential(nn.Linear(size, model.neck), nn.BatchNorm1d(model.neck), nn.ReLU())
        self.feature_size = model.neck or size
        self.frm = FRMS[model.frm](self.feature_size)
        gate = GATES[model.gate]
        if model.heads == "shared":
            self.classifier: nn.Module = nn.Linear(self.feature_size, model.classes)
            self.gate: nn.Module | None = gate(self.feature_size) if gate else None
        else:  # a classifier per frame and, from the second frame on, a gate per frame
            frames = config.frames.count
            self.classifier = nn.ModuleList(nn.Linear(self.feature_size, model.classes) for _ in range(frames))
            gates = (FrameExitGate(self.feature_size) for _ in range(frames - 1))
            self.gate = nn.ModuleList(gates) if gate else None

    def classify(self, z: Tensor, frame: int) -> Tensor:
        """Logits, (N, K), of features (N, D) of each video's frame `frame`, in processing order."""
        return (self.classifier[frame] if isinstance(self.classifier, nn.ModuleList) else self.classifier)(z)

    def stop_logit(self, z: Tensor, previous: Tensor, frame: int) -> Tensor:
        """The gate's logit, (N, 1), that a video can stop, in any frame but the first.

        Args:
            z, previous: (N, D), the exit's feature after the FRM, and that of the exit before.
        """
        gate = self.gate[frame - 1] if isinstance(self.gate, nn.ModuleList) else self.gate
        assert gate is not None
        return gate(z, previous)

    def raw_feature(self, exit: int, x: Tensor) -> Tensor:
        """An exit's feature before the neck, from its split's output."""
        return self.branches[exit](x) if exit < len(self.branches) else self.backbone.tail(x)

    def features(self, clips: Tensor, chosen: Collection[int]) -> dict[int, Tensor]:
        """The chosen exits' features of every frame, before feature reuse.

        Args:
            clips: (N, T, H, W, 3) RGB 0-255, in processing order.

        Returns:
            (N, T, D) by exit.
        """
        x = self.normalise(clips.flatten(0, 1))  # backbone and branches see all frames at once
        past = clip_past(clips.shape[1])
        features = {}
        for exit in range(self.exits):
            x = self.backbone.split(exit, x, past)
            if exit in chosen:
                features[exit] = self.neck(self.raw_feature(exit, x)).unflatten(0, clips.shape[:2])
        return features


class Unfilled(TorchFunctionMode):
    """Within it, layers are built without initialising their weights, for models that load others or need none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def check_parts(path: str | Path, config: Config) -> Tlee:
    """The model of a configuration file without its weights (on torch's meta device).

    Raises:
        UsageError: its parts do not fit together, or not into memory; names the file.
    """
    try:
        with torch.device("meta"), Unfilled():
            model = Tlee(config)
    except UsageError as error:
        raise UsageError(path, error.problem, error.remedy) from None
    count = sum(parameter.numel() for parameter in model.parameters())
    if count > MAX_PARAMETERS:
        problem = f"a model of {count:,} parameters, more than the {MAX_PARAMETERS:,} that are built here"
        raise UsageError(path, problem, "correct its numbers (width, neck, classes)")
    return model


class TorchStages(Stages):
    """Runs a `Tlee` in eval mode stage by stage for the exit rule. Values are tensors of batch 1.

    Examples:
        >>> policy = ExitPolicy(10, model.config.thresholds())  # doctest: +SKIP
        >>> steps = list(exit_steps(TorchStages(model), clip, policy))  # doctest: +SKIP
    """

    def __init__(self, model: Tlee) -> None:
        self.model = model.eval()
        self._state: dict[str, Tensor] = {}

    def begin(self) -> None:
        self._state = {}

    @torch.inference_mode()
    def load(self, frame) -> Tensor:
        return self.model.normalise(torch.as_tensor(frame)[None])

    @torch.inference_mode()
    def split(self, index: int, x: Tensor) -> Tensor:
        return self.model.backbone.split(index, x, self._exchange)

    def feature(self, index: int, x: Tensor) -> Tensor:
        """An exit's feature, (1, D), before feature reuse."""
        return self.model.neck(self.model.raw_feature(index, x))

    @torch.inference_mode()
    def exit(
        self, index: int, x: Tensor, previous: Tensor | None, frame: int, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        model, z = self.model, self.feature(index, x)
        if frame > 0:
            z = model.frm(z, previous)
        logits = model.classify(z, frame)
        confidence = float((logits / temperature).softmax(1).max())
        score = None
        if gated and model.gate and previous is not None:
            score = float(model.stop_logit(z, previous, frame).sigmoid())
        return ExitValues(z, logits, confidence, score)

    def _exchange(self, name: str, kept: Tensor) -> Tensor:
        previous = self._state.get(name)
        self._state[name] = kept
        return no_past(name, kept) if previous is None else previous
