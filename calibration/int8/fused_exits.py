"""INT8 forms of fused exits, composed from those of their segments."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import onnx

from tlee.bundle import Bundle
from tlee.calibration.int8.cache_file import write_cache
from tlee.calibration.videos import Parts, VideoReader
from tlee.export.activations import SAMPLES
from tlee.export.fused_exits import compose, value_names

CACHE_RELEASE = "8.2.1"  # of TensorRT, in a cache's header; a device's build puts its own there


class FusedExitVariant(NamedTuple):
    """A fused exit in INT8, `ranges` of the segments in it that are, by the names that the fused exit gives their
    values."""

    model: bytes
    ranges: dict[str, float]


def fused_exit_variants(bundle: Bundle, forms: Mapping[str, Any], kept: Collection[str]) -> dict[str, FusedExitVariant]:
    """Of each fused exit in which anything is in INT8 its form; the rest of it is in float32.

    Args:
        forms: the segments' own, each with `model` and `ranges`.
        kept: segments that the plan keeps out of INT8.
    """
    used = {name: forms[name] for name in forms if name not in kept}
    made = {}
    for fused in bundle.fused_exits.values():
        inside = [name for name in fused.segments if name in used]
        if inside:
            models = {name: used[name].model if name in used else bundle.read(name) for name in fused.segments}
            graphs = {name: onnx.load_from_string(model) for name, model in models.items()}
            names = value_names({name: graph.graph for name, graph in graphs.items()})
            ranges: dict[str, float] = {}
            for name in inside:
                for tensor, largest in used[name].ranges.items():
                    own = names[name].get(tensor, f"{name}/{tensor}")
                    ranges[own] = max(largest, ranges.get(own, 0))
            model = compose(fused.name, fused.segments, graphs).SerializeToString()
            made[fused.name] = FusedExitVariant(model, ranges)
    return made


def cache_of(ranges: Mapping[str, float]) -> bytes:
    return write_cache({name: largest / 127 for name, largest in ranges.items()}, CACHE_RELEASE)


def clips_to_record(parts: Parts, reader: VideoReader) -> Iterator[np.ndarray]:
    """The frames of `SAMPLES` tuning videos, spread over their list, of those that can be read."""
    entries = [entry for entry in parts.tuning.entries if entry.path not in reader.unreadable]
    chosen = [entries[len(entries) * i // SAMPLES] for i in range(SAMPLES)]
    for _, frames in reader.tuning(replace(parts.tuning, entries=chosen), "recording"):
        yield frames
