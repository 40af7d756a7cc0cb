"""Which layers run in INT8: how sensitive segments and layers are, and a plan that keeps as little as it can in float.

With some tens of videos a count of labels cannot tell 98 % from 100 %. So plans are chosen by an estimate that uses how
far every answer moved, and a count rejects a plan only where chance does not explain it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.int8.compare import Comparison
from tlee.calibration.int8.qdq import Int8Graph
from tlee.calibration.int8.segment import PreparedSegment
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

Floats = frozenset[tuple[str, str]]  # (segment, layer): layers that stay in higher precision, all others are in INT8
MET, MISSED, UNDECIDED = "met", "missed", "undecided"
ROUNDS, AT_ONCE = 3, 3  # of looking for the shortest list of layers, and lengths in each


class _WithGraph(Bundle):
    """A bundle one of whose segments is read as a graph that it does not hold (yet)."""

    def __init__(self, bundle: Bundle, name: str, model: bytes) -> None:
        super().__init__(bundle.path, bundle.manifest)
        self._name, self._model = name, model

    def read(self, segment: str, precision: str = "fp32") -> bytes:
        return self._model if segment == self._name else super().read(segment, precision)


class PlannedBackend(ForwardingBackend):
    """Runs some segments on backends of their own, the others on another; all must take each other's values."""

    def __init__(self, fp32: Backend, int8: Mapping[str, Backend]) -> None:
        super().__init__(fp32)
        self._int8 = int8

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> list[Any]:
        return self._int8.get(graph, self._backend).run(graph, *inputs, rows=rows)


class PlannedChains:
    """Chains of a bundle with some layers in float32 and all others of the `segments` in INT8; `fp32` runs the rest."""

    def __init__(
        self, bundle: Bundle, fp32: Backend, segments: Mapping[str, PreparedSegment], threads: int | None = None
    ) -> None:
        self._bundle, self._fp32, self._segments, self._threads = bundle, fp32, segments, threads
        self._graphs: dict[tuple[str, frozenset[str]], Int8Graph] = {}
        self._backends: dict[tuple[str, frozenset[str]], Backend] = {}

    def graphs(self, floats: Collection[tuple[str, str]]) -> dict[str, Int8Graph]:
        """The INT8 graphs of the segments that have a layer in INT8."""
        return {name: self._graph(name, kept) for name, kept in self._kept(floats).items()}

    def chain(self, floats: Collection[tuple[str, str]]) -> Chain:
        """The chain with these layers in float32."""
        backends = {name: self._backend(name, kept) for name, kept in self._kept(floats).items()}
        return Chain(self._bundle, PlannedBackend(self._fp32, backends))

    def int8_macs(self, floats: Collection[tuple[str, str]]) -> dict[str, int]:
        """Multiply-accumulates in INT8 of each segment that has some."""
        kept = self._kept(floats)
        return {n: sum(macs for layer, macs in self._segments[n].macs.items() if layer not in kept[n]) for n in kept}

    def _kept(self, floats: Collection[tuple[str, str]]) -> dict[str, frozenset[str]]:
        """Of segments with a layer in INT8 the layers in float."""
        kept = {name: frozenset(layer for own, layer in floats if own == name) for name in self._segments}
        return {name: layers for name, layers in kept.items() if layers < set(self._segments[name].macs)}

    def _graph(self, name: str, kept: frozenset[str]) -> Int8Graph:
        if (name, kept) not in self._graphs:
            self._graphs[name, kept] = self._segments[name].graph(kept)
        return self._graphs[name, kept]

    def _backend(self, name: str, kept: frozenset[str]) -> Backend:
        if (name, kept) not in self._backends:
            bundle = _WithGraph(self._bundle, name, self._graph(name, kept).model)
            self._backends[name, kept] = OnnxBackend(bundle, self._threads, graphs=[name])
        return self._backends[name, kept]


@dataclass(frozen=True)
class Targets:
    """What a plan must achieve."""

    agreement: float = 0.99  # the least share of videos with float32's label, 0 to 1
    drop: float = 0.005  # the largest loss of accuracy against float32, 0 to 1

    def hold(self, found: Comparison) -> bool:
        """Whether a measured change is within both, as far as so many videos tell: the estimated agreement is, and
        neither the labels that changed nor the accuracy lost are more than chance explains."""
        return found["expected_agreement"] >= self.agreement and not self.missed(found)

    def held(self, found: Comparison) -> bool:
        """Whether the counts are within both, whatever chance has done."""
        return found["label_agreement"] >= self.agreement and found["top1_drop"] <= self.drop

    def missed(self, found: Comparison) -> bool:
        """Whether a target lies outside of its 95 % interval."""
        return found["label_agreement_interval"][1] < self.agreement or found["top1_drop_interval"][0] > self.drop

    def verdict(self, found: Comparison) -> str:
        """MET where both 95 % intervals lie within the targets, MISSED where one lies outside, else UNDECIDED."""
        met = found["label_agreement_interval"][0] >= self.agreement and found["top1_drop_interval"][1] <= self.drop
        return MET if met else MISSED if self.missed(found) else UNDECIDED


@dataclass(frozen=True)
class Plan:
    """Which layers stay out of INT8, and the measurements that led to it."""

    floats: list[tuple[str, str]]  # (segment, layer) out of INT8, those first that change most for their work
    excluded: list[str]  # segments all of whose layers are, the most sensitive first
    whole: Comparison  # with all segments in INT8
    alone: dict[str, Comparison]  # with one segment alone in INT8, the most sensitive first
    planned: Comparison | None  # with this plan; None where it excludes all segments

    @property
    def layers(self) -> dict[str, list[str]]:
        """By segment the layers out of INT8, of those that have others in it."""
        found: dict[str, list[str]] = {}
        for name, layer in self.floats:
            if name not in self.excluded:
                found.setdefault(name, []).append(layer)
        return found


def find_plan(
    segments: Mapping[str, PreparedSegment],
    compare: Callable[[Sequence[Floats]], Mapping[Floats, Comparison]],
    targets: Targets,
) -> Plan:
    """Keep as few multiply-accumulates out of INT8 as the targets allow.

    A layer's part in what its segment changes (`change` when that one alone is in INT8) is its part in the noise of all
    its layers. Layers are kept in float in the order of that over their multiply-accumulates, as few as it takes.
    Not all subsets are tried: another plan may keep less.

    `compare` compares plans, each given by its layers in float, with float32, all in one pass over the videos.
    """
    layers = [(name, layer) for name, own in segments.items() for layer in own.macs]
    everything, nothing = frozenset(layers), Floats()
    but_one = {name: everything - {(name, layer) for layer in own.macs} for name, own in segments.items()}
    found = dict(compare([nothing, *but_one.values()]))
    alone = {name: found[plan] for name, plan in but_one.items()}
    order = sorted(segments, key=lambda name: -alone[name]["change"])

    def cost(place: tuple[str, str]) -> float:
        name, layer = place
        own = segments[name]
        part = own.noise[layer] / (sum(own.noise.values()) or 1)
        return float(np.square(alone[name]["change"]) * part / own.macs[layer])

    layers.sort(key=cost, reverse=True)
    low, high = 0, len(layers)  # too few layers in float, enough
    if targets.hold(found[nothing]):
        high = 0
    for _ in range(ROUNDS):
        between = sorted({low + (high - low) * i // (AT_ONCE + 1) for i in range(1, AT_ONCE + 1)} - {low, high})
        if high - low < 2:
            break
        plans = {count: frozenset(layers[:count]) for count in between}
        found.update(compare(list(plans.values())))
        for count, plan in plans.items():
            if targets.hold(found[plan]):
                high = count
                break
            low = count
    floats = layers[:high]
    excluded = [name for name in order if all((name, layer) in floats for layer in segments[name].macs)]
    return Plan(floats, excluded, found[nothing], {name: alone[name] for name in order}, found.get(frozenset(floats)))
