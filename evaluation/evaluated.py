"""Models that can be evaluated: a checkpoint or a bundle, each as stages that the exit rule runs."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlee.bundle import Bundle
from tlee.costs import Costs
from tlee.errors import UsageError
from tlee.evaluation.replay import replaying_chain
from tlee.evaluation.report import PARTS, about_bundle
from tlee.export.exporter import load_model
from tlee.export.segments import count_macs, segment_modules
from tlee.files import sha256_of
from tlee.frames import FrameSpec
from tlee.inference import ExitValues, Stages
from tlee.models.config import Config
from tlee.models.model import Tlee, TorchStages
from tlee.policy import Thresholds
from tlee.runtime.onnx_backend import OnnxBackend


class EvaluatedModel(ABC):
    """A model that answers videos, and facts about it.

    Attributes:
        facts: path, kind (checkpoint, bundle), sha256 (of the checkpoint, or of the bundle's manifest), name, parts.
    """

    path: str | Path
    facts: dict[str, Any]
    spec: FrameSpec
    labels: list[str]
    thresholds: Thresholds
    costs: Costs

    def about(self) -> dict[str, Any]:
        """Plain values for a report."""
        return {
            **self.facts,
            "frames": self.spec.length,
            "order": self.spec.order,
            "sampling": self.spec.sampling,
            "thresholds": self.thresholds.as_dict(),
            "full_macs": self.costs.full(self.spec.length),
        }

    @abstractmethod
    def clips(self, frames: Tensor) -> Iterator[tuple[Stages, Iterable[Any]]]:
        """Stages for each clip of (N, T, H, W, 3) uint8, and the frames they take. They serve any number of runs, until
        the next clip is asked for."""

    @abstractmethod
    def logits(self, values: ExitValues) -> np.ndarray:
        """(K,) of an exit that these stages have just answered."""


class EvaluatedCheckpoint(EvaluatedModel):
    """A checkpoint in PyTorch; arguments and errors as of `tlee.export.exporter.load_model`.

    All features of a batch are computed at once, on the GPU if there is one; feature reuse, classifier and gate in each
    run. With a temporal shift, features depend on where earlier frames left, and each run computes its own.
    """

    def __init__(self, path: str | Path, config: Config | None = None) -> None:
        self.path, self._model = path, load_model(path, config)
        config = self._model.config
        self.facts = {"path": str(path), "kind": "checkpoint", "sha256": sha256_of(str(path)), "name": config.name}
        self.facts.update((part, getattr(config.model, part)) for part in PARTS)
        self.spec, self.labels, self.thresholds = config.frame_spec(), config.label_names(), config.thresholds()
        self.costs = Costs({segment.name: count_macs(segment) for segment in segment_modules(self._model)})
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # The exits stay on the CPU, which is faster at a few small layers, step by step.
        self._backbone = copy.deepcopy(self._model).to(self._device) if self._device.type != "cpu" else self._model

    @torch.inference_mode()
    def clips(self, frames: Tensor) -> Iterator[tuple[Stages, Iterable[Any]]]:
        frames = frames.to(self._device)
        if self._model.config.model.shifts:
            for clip in frames:
                yield TorchStages(self._backbone), clip
            return
        features = self._backbone.features(frames, range(self._backbone.exits))
        recorded = torch.stack([features[b] for b in range(self._backbone.exits)], 2).cpu()
        for exits in recorded:
            yield Recorded(self._model, exits), range(self.spec.length)

    def logits(self, values: ExitValues) -> np.ndarray:
        return values.logits[0].cpu().numpy()


class Recorded(TorchStages):
    """The exits of one clip whose `features`, (T, B + 1, D) before any feature reuse, are known already. Frames, and
    the outputs of splits, are frame numbers."""

    def __init__(self, model: Tlee, features: Tensor) -> None:
        super().__init__(model)
        self._features = features

    def load(self, frame: int) -> Tensor:
        return torch.tensor(frame)

    def split(self, index: int, x: Tensor) -> Tensor:
        return x

    def feature(self, index: int, x: Tensor) -> Tensor:
        return self._features[x, index][None]


class EvaluatedBundle(EvaluatedModel):
    """A bundle in the runtime that devices use, on ONNX Runtime; see `tlee.evaluation.replay`.

    Args:
        point: a named operating point, instead of the exit rule's own thresholds.
        threads, shared_pool, precision: see `tlee.runtime.onnx_backend.OnnxBackend`.

    Raises:
        BundleError: no bundle, or not what its manifest says.
        UsageError: no such operating point, or no variant in this precision.
    """

    def __init__(
        self,
        path: str | Path,
        point: str | None = None,
        threads: int | None = None,
        shared_pool: bool = False,
        precision: str = "fp32",
    ) -> None:
        bundle = Bundle.open(os.fspath(path))
        self.path = path
        self.facts = {"kind": "bundle", **about_bundle(bundle), "point": point, "precision": precision}
        self.spec, self.labels, self.thresholds = bundle.frames, bundle.labels, bundle.thresholds(point)
        self.costs = Costs.of_bundle(bundle)
        self._chain = replaying_chain(bundle, OnnxBackend(bundle, threads, shared_pool, precision))

    def clips(self, frames: Tensor) -> Iterator[tuple[Stages, Iterable[Any]]]:
        for clip in frames.numpy():
            yield self._chain, self._chain.frames_of(clip)

    def logits(self, values: ExitValues) -> np.ndarray:
        return self._chain.array(values.logits)[0]


def open_model(
    path: str | Path,
    config: Config | None = None,
    point: str | None = None,
    threads: int | None = None,
    shared_pool: bool = False,
    precision: str = "fp32",
) -> EvaluatedModel:
    """A folder as an `EvaluatedBundle`, anything else as an `EvaluatedCheckpoint`; arguments and errors as theirs.

    Raises:
        UsageError: a configuration for a bundle, an operating point or precision for a checkpoint.
    """
    if os.path.isdir(path):
        if config:
            raise UsageError(path, "a bundle carries its configuration itself", "leave --config out")
        return EvaluatedBundle(path, point, threads, shared_pool, precision)
    if point:
        raise UsageError(path, "a checkpoint has no operating points", "leave --point out, or give a bundle")
    if precision != "fp32":
        raise UsageError(path, f"a checkpoint has no {precision} variant", "leave --precision out, or give a bundle")
    if threads:
        torch.set_num_threads(threads)
    return EvaluatedCheckpoint(path, config)


def are_names(labels: list[str]) -> bool:
    """Whether classes have names, and not only numbers as `Config.label_names` and lists without a label file say."""
    return labels != [f"class {i}" for i in range(len(labels))]
