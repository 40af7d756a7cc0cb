"""Checkpoint to bundle: segments and fused exits written, activations recorded, the whole exit rule verified, then the
bundle appears."""

from __future__ import annotations

import contextlib
import io
import platform
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16
from tqdm import tqdm

import tlee
from tlee.bundle import PREPARED, Bundle
from tlee.errors import UsageError
from tlee.export.activations import add_activations, record
from tlee.export.bundle_writer import BundleWriter, write_bundle
from tlee.export.fused_exits import compose
from tlee.export.segments import NEXT, SegmentModule, count_macs, count_traffic, segment_modules, to_onnx
from tlee.export.targets import DEFAULT_TARGET, check_operators
from tlee.export.verify import synthetic_clips, verify
from tlee.files import sha256_of
from tlee.manifest import FP32_ONLY, exit_costs, fused_exit_segments
from tlee.models.checkpoint import load_checkpoint
from tlee.models.config import Config, ExitConfig
from tlee.models.model import Tlee
from tlee.models.published import load_published
from tlee.runtime.onnx_backend import OnnxBackend

SYNTHETIC = "synthetic clips"
LARGEST_HALF = float(np.finfo(np.float16).max)  # 65504
ADDED = ("macs", "parameters", "elements", "layers")  # of a fused exit: those of its segments together
Graphs = dict[str, onnx.ModelProto]


def load_model(checkpoint: str | Path, config: Config | None = None) -> Tlee:
    """Our own checkpoint, or with a configuration a published one.

    Raises:
        UsageError: a published checkpoint without a configuration, or our own with one.
        CheckpointError: the file is no checkpoint or of another model.
    """
    ours = Path(checkpoint).suffix == ".safetensors"
    if config and ours:
        raise UsageError(checkpoint, "carries its configuration itself", "leave --config out")
    if config:
        return load_published(checkpoint, config)
    if not ours and Path(checkpoint).exists():
        raise UsageError(checkpoint, "a checkpoint without a configuration", "name its configuration with --config")
    return load_checkpoint(checkpoint)


def plain(model: Tlee) -> Tlee:
    """A model of the same weights without branches, feature reuse and gate, to compare early exits with: every frame
    runs through one uncut backbone to the classifier."""
    parts = {"branches": 0, "cuts": None, "frm": "none", "gate": "none"}
    return _rebuilt(model, f"{model.config.name}-plain", parts, ExitConfig(), [])


def with_branches(model: Tlee, kept: Sequence[int]) -> Tlee:
    """A model of the same weights with some of its branches only; where one is left out, two splits become one.

    Args:
        kept: rising numbers of branches of `model`, from 0.

    Raises:
        UsageError: there is no such branch, or they do not rise.
    """
    count, text = len(model.branches), ",".join(map(str, kept))
    if any(a >= b for a, b in zip(kept, kept[1:])) or not set(kept) <= set(range(count)):
        numbers = f"rising numbers from 0 to {count - 1}, or none" if count else "none: the model has no branch"
        raise UsageError("branches", f"{text} are not branches of the model", f"give {numbers}")
    exits = [*kept, count]
    own = {
        kind: [value[b] for b in exits] if isinstance(value, list) else value
        for kind, value in model.config.exits.model_dump().items()
    }
    parts = {"branches": len(kept), "cuts": [model.backbone.cuts[b] for b in kept] or None}
    return _rebuilt(model, model.config.name, parts, ExitConfig(**own), kept)


def _rebuilt(model: Tlee, name: str, parts: dict[str, Any], exits: ExitConfig, kept: Sequence[int]) -> Tlee:
    """The model with other `parts` of its configuration and the branches `kept`, its weights taken over."""
    changes = {"name": name, "exits": exits, "model": model.config.model.model_copy(update=parts)}
    rebuilt, weights = Tlee(model.config.model_copy(update=changes)), model.state_dict()
    for new, old in enumerate(kept):
        taken = {key: value for key, value in model.state_dict().items() if key.startswith(f"branches.{old}.")}
        weights.update({key.replace(f".{old}.", f".{new}.", 1): value for key, value in taken.items()})
    rebuilt.load_state_dict({key: weights[key] for key in rebuilt.state_dict()})
    return rebuilt.eval()


def in_half(segment: str, model: onnx.ModelProto) -> onnx.ModelProto:
    """A segment that computes in half precision, for TensorRT releases that read the precision from the ONNX alone (11,
    RTX); its inputs and outputs still in float32.

    Raises:
        UsageError: a weight is beyond half precision's range; names segment and tensor.
    """
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = np.abs(onnx.numpy_helper.to_array(tensor))
        if not (values <= LARGEST_HALF).all():
            problem = f"{tensor.name} holds {values.max():g}, half precision ends at {LARGEST_HALF:g}"
            remedy = "export without --variants fp16, or train with weight decay until weights are smaller"
            raise UsageError(f"segment {segment}", problem, remedy)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        half = convert_float_to_float16(model, keep_io_types=True)
    ONNXModel(half).topological_sort()  # it puts the casts of inputs last
    onnx.checker.check_model(half, full_check=True)
    return half


def export_bundle(
    model: Tlee,
    path: str | Path,
    checkpoint: str | Path,
    verified: bool = True,
    replace: bool = False,
    target: str = DEFAULT_TARGET,
    variants: Sequence[str] = (),
    branches: Sequence[int] | None = None,
) -> Bundle:
    """Write a model as a bundle, or nothing.

    Args:
        path: the bundle's folder, by convention `NAME.tlee`.
        checkpoint: where the model came from; its hash goes into the provenance.
        verified: compare the bundle with the model before it appears.
        replace: whether an existing bundle may be replaced.
        target: whose TensorRT must take every segment and fused exit, a key of `tlee.export.targets.TARGETS`.
        variants: precisions of `tlee.export.targets.VARIANTS` to write as well as float32.
        branches: numbers that the model's have in the checkpoint, see `with_branches`; None for the same ones.

    Raises:
        VerificationError: the bundle does not answer as the model does.
        UsageError: the folder exists or cannot be written, the target does not take a segment, or a weight does not fit
            into a variant, or a layer computes for one video only.
    """
    start, parts = time.perf_counter(), segment_modules(model)
    with write_bundle(str(path), replace) as writer:
        graphs = {s.name: to_onnx(s) for s in tqdm(parts, desc="segments", leave=False, disable=None)}
        composed = fused_exit_segments(model.config.model.branches, graphs)
        fused_exits = {name: compose(name, names, graphs) for name, names in composed.items()}
        for name, graph in {**graphs, **fused_exits}.items():
            check_operators(name, graph, target)
        segments = {s.name: _add_segment(writer, s, graphs[s.name]) for s in parts}
        manifest = _manifest(model, segments, checkpoint, target)
        manifest["provenance"]["branches"] = list(range(len(model.branches)) if branches is None else branches)
        manifest["fused_exits"] = {
            name: _add_fused_exit(writer, composed[name], segments, graph) for name, graph in fused_exits.items()
        }
        manifest["variants"] = {precision: _add_halves(writer, composed, graphs) for precision in variants}
        bundle = writer.draft(manifest)
        backend = OnnxBackend(bundle)
        recorded = record(bundle, synthetic_clips(bundle.frames), backend)
        manifest["activations"] = add_activations(writer, recorded, SYNTHETIC)
        manifest["provenance"]["seconds"] = round(time.perf_counter() - start, 2)  # without verification
        manifest["verification"] = verify(model, writer.draft(manifest), backend) if verified else None
        writer.finish(manifest)
    return Bundle.open(str(path))


def _add_segment(writer: BundleWriter, segment: SegmentModule, graph: onnx.ModelProto) -> dict[str, Any]:
    # Inputs that are the previous frame's outputs.
    state = {name: name + NEXT for name in segment.inputs if name + NEXT in segment.outputs}
    return {
        "file": writer.add(f"segments/{segment.name}.onnx", graph.SerializeToString()),
        "inputs": _values(graph.graph.input),
        "outputs": _values(graph.graph.output),
        "macs": count_macs(segment),
        # Batch norm counts although export folds it into convolutions.
        "parameters": sum(parameter.numel() for parameter in segment.module.parameters()),
        **count_traffic(graph),
        "nodes": len(graph.graph.node),
        **({"state": state} if state else {}),
    }


def _add_fused_exit(
    writer: BundleWriter, names: Sequence[str], segments: dict[str, dict[str, Any]], graph: onnx.ModelProto
) -> dict[str, Any]:
    return {
        "file": writer.add(f"fused_exits/{graph.graph.name}.onnx", graph.SerializeToString()),
        "segments": names,
        "inputs": _values(graph.graph.input),
        "outputs": _values(graph.graph.output),
        **{key: sum(segments[name][key] for name in names) for key in ADDED},
        "nodes": len(graph.graph.node),
    }


def _add_halves(writer: BundleWriter, composed: dict[str, list[str]], graphs: Graphs) -> dict[str, Any]:
    """The fp16 variant: all graphs but `FP32_ONLY`, and the fused exits with those in float32."""
    halved = {name: in_half(name, graph) for name, graph in graphs.items() if name not in FP32_ONLY}
    mixed = {**graphs, **halved}
    halved.update({name: compose(name, names, mixed) for name, names in composed.items()})
    return {
        "graphs": {
            name: {"file": writer.add(f"variants/fp16/{name}.onnx", graph.SerializeToString())}
            for name, graph in halved.items()
        },
        "excluded": [],
        "made": {"versions": {name: metadata.version(name) for name in ("onnx", "onnxruntime")}},
    }


def _values(values: Iterable[onnx.ValueInfoProto]) -> list[dict[str, object]]:
    """Names and shapes for one video."""
    shapes = {v.name: [dimension.dim_value or 1 for dimension in v.type.tensor_type.shape.dim] for v in values}
    return [{"name": name, "shape": shape, "dtype": "float32"} for name, shape in shapes.items()]


def _manifest(model: Tlee, segments: dict[str, dict[str, Any]], checkpoint: str | Path, target: str) -> dict[str, Any]:
    config, parts, spec = model.config, model.config.model, model.config.frame_spec()
    own = ("backbone", "branches", "branch", "frm", "gate", "heads", "classes")
    return {
        "model": {
            "name": config.name,
            **{key: getattr(parts, key) for key in own},
            "cuts": list(model.backbone.cuts),
            "feature_size": model.feature_size,
            "labels": config.label_names(),
        },
        "frames": {
            "count": spec.length,
            **{key: getattr(spec, key) for key in PREPARED},
            "colour": "RGB",
        },
        "exit_rule": {"thresholds": config.thresholds().as_dict(), "operating_points": {}},
        "exits": exit_costs(parts.branches, segments),
        "segments": segments,
        "provenance": {
            "checkpoint": Path(checkpoint).name,
            "checkpoint_sha256": sha256_of(str(checkpoint)),
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
