"""INT8 graphs of fused exits, composed from those of their segments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import onnx

from tlee.bundle import Bundle
from tlee.calibration.int8.cache_file import write_cache
from tlee.export.fused_exits import compose, value_names

CACHE_RELEASE = "8.2.1"  # of TensorRT, in a cache's header; a device's build puts its own there


class Int8Graph(NamedTuple):
    """A segment or fused exit in INT8."""

    model: bytes  # ONNX with Q/DQ pairs
    ranges: dict[str, float]  # largest magnitude by tensor
    given: int = 0  # sets of inputs that the tuning videos gave the segment
    samples: int = 0  # sets of inputs that the ranges are of

    @property
    def filled(self) -> int:
        """How many of the samples were taken without exits."""
        return max(0, self.samples - self.given)


def fused_exit_graphs(
    bundle: Bundle, graphs: Mapping[str, Int8Graph], excluded: Collection[str]
) -> dict[str, Int8Graph]:
    """Graphs of the fused exits that have a segment in INT8; their other segments are in float32.

    Args:
        graphs: of segments.
        excluded: segments that the plan keeps out of INT8.
    """
    used = {name: graph for name, graph in graphs.items() if name not in excluded}
    made = {}
    for fused in bundle.fused_exits.values():
        if used.keys().isdisjoint(fused.segments):
            continue
        models = {name: used[name].model if name in used else bundle.read(name) for name in fused.segments}
        parts = {name: onnx.load_from_string(model) for name, model in models.items()}
        names = value_names({name: part.graph for name, part in parts.items()})
        ranges: dict[str, float] = {}
        for name in filter(used.__contains__, fused.segments):
            for tensor, largest in used[name].ranges.items():
                own = names[name].get(tensor, f"{name}/{tensor}")
                ranges[own] = max(largest, ranges.get(own, 0))
        made[fused.name] = Int8Graph(compose(fused.name, fused.segments, parts).SerializeToString(), ranges)
    return made


def cache_of(ranges: Mapping[str, float]) -> bytes:
    """The calibration cache of a graph with these ranges."""
    return write_cache({name: largest / 127 for name, largest in ranges.items()}, CACHE_RELEASE)
