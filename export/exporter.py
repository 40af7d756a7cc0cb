"""Checkpoint to bundle: every segment written, the whole exit rule verified, then the bundle appears."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import tlee
from tlee.bundle import Bundle, BundleWriter, exit_costs, write_bundle
from tlee.errors import UsageError
from tlee.export.segments import SegmentModule, count_macs, count_parameters, segment_modules, to_onnx
from tlee.export.targets import DEFAULT_TARGET, check_operators
from tlee.export.verify import verify
from tlee.files import sha256
from tlee.frames import INTERPOLATION
from tlee.models.checkpoint import load_checkpoint
from tlee.models.config import Config
from tlee.models.model import Tlee
from tlee.models.published import load_published


def load_model(checkpoint: str | Path, config: Config | None = None) -> Tlee:
    """Our own checkpoint, or with a configuration a published one.

    Raises:
        UsageError: a published checkpoint without a configuration, or our own with one.
        CheckpointError: the file is no checkpoint or of another model.
    """
    ours = Path(checkpoint).suffix == ".safetensors"
    if ours and config:
        raise UsageError(checkpoint, "carries its configuration itself", "leave --config out")
    if ours:
        return load_checkpoint(checkpoint)
    if config is None and Path(checkpoint).exists():
        raise UsageError(checkpoint, "a checkpoint without a configuration", "name its configuration with --config")
    return load_checkpoint(checkpoint) if config is None else load_published(checkpoint, config)


def export_bundle(
    model: Tlee,
    path: str | Path,
    checkpoint: str | Path,
    verified: bool = True,
    replace: bool = False,
    target: str = DEFAULT_TARGET,
) -> Bundle:
    """Write a model as a bundle, or nothing.

    Args:
        path: the bundle's folder, by custom `NAME.tlee`.
        checkpoint: where the model came from; its hash goes into the provenance.
        verified: compare the bundle with the model before it appears.
        replace: whether a bundle that is there already gives way.
        target: whose TensorRT must take every segment, a key of `tlee.export.targets.TARGETS`.

    Raises:
        VerificationError: the bundle does not answer as the model.
        UsageError: the folder exists or cannot be written, or the target does not take a segment.
    """
    start = time.perf_counter()
    segments = segment_modules(model)
    with write_bundle(str(path), replace) as writer:
        entries = {s.name: _add(writer, s, target) for s in tqdm(segments, desc="segments", leave=False, disable=None)}
        manifest = _manifest(model, entries, checkpoint, target)
        manifest["provenance"]["seconds"] = round(time.perf_counter() - start, 2)  # without verification
        bundle = writer.finish({**manifest, "verification": None})
        if verified:
            writer.finish({**manifest, "verification": verify(model, bundle)})
    return Bundle.open(str(path))


def _add(writer: BundleWriter, segment: SegmentModule, target: str) -> dict[str, Any]:
    file = f"segments/{segment.name}.onnx"
    graph = to_onnx(segment)
    check_operators(segment.name, graph, target)
    writer.add(file, graph.SerializeToString())
    return {
        "file": file,
        "inputs": _values(segment.inputs, segment.shapes),
        "outputs": _values(segment.outputs, segment.output_shapes()),
        "macs": count_macs(segment),
        "parameters": count_parameters(segment),
        **({"state": segment.state()} if segment.state() else {}),
    }


def _values(names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[dict[str, object]]:
    return [{"name": name, "shape": list(shape), "dtype": "float32"} for name, shape in zip(names, shapes)]


def _manifest(model: Tlee, segments: dict[str, dict[str, Any]], checkpoint: str | Path, target: str) -> dict[str, Any]:
    config, spec = model.config, model.config.frame_spec()
    return {
        "model": {
            "name": config.name,
            "backbone": config.model.backbone,
            "cuts": list(model.backbone.cuts),
            "branches": config.model.branches,
            "branch": config.model.branch,
            "frm": config.model.frm,
            "gate": config.model.gate,
            "feature_size": model.feature_size,
            "classes": config.model.classes,
            "labels": config.label_names(),
        },
        "frames": {
            "count": spec.length,
            "order": spec.order,
            "resize": spec.resize,
            "crop": spec.crop,
            "interpolation": INTERPOLATION,
            "colour": "RGB",
        },
        "exit_rule": {"thresholds": config.thresholds().as_dict(), "operating_points": {}},
        "variants": {},
        "exits": exit_costs(config.model.branches, segments),
        "segments": segments,
        "provenance": {
            "checkpoint": Path(checkpoint).name,
            "checkpoint_sha256": sha256(Path(checkpoint).read_bytes()),
            "target": target,
            "configuration": config.model_dump(mode="json"),
            "versions": {
                "tlee": tlee.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                **{name: metadata.version(name) for name in ("onnx", "onnxslim", "onnxruntime")},
            },
        },
    }
