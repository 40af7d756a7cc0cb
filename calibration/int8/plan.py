"""Which segments run in INT8: sensitivity segment by segment, and a plan that excludes as few as possible."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlee.bundle import Bundle
from tlee.calibration.int8.compare import Comparison
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

Excluded = frozenset[str]  # segments that stay in higher precision; all others that have an INT8 graph run in INT8


class _WithGraphs(Bundle):
    """A bundle some of whose segments are read as graphs that it does not hold (yet)."""

    def __init__(self, bundle: Bundle, graphs: Mapping[str, bytes]) -> None:
        super().__init__(bundle.path, bundle.manifest)
        self._graphs = graphs

    def read(self, segment: str, precision: str = "fp32") -> bytes:
        return self._graphs[segment] if segment in self._graphs else super().read(segment, precision)


class PlannedBackend(ForwardingBackend):
    """Runs some segments on one backend, the others on another; both must take each other's values."""

    def __init__(self, fp32: Backend, int8: Backend, names: Collection[str]) -> None:
        super().__init__(fp32)
        self._int8, self._names = int8, frozenset(names)

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> list[Any]:
        return (self._int8 if graph in self._names else self._backend).run(graph, *inputs, rows=rows)


class PlannedChains:
    """Chains of a bundle with some segments in float32, which `fp32` runs, and others in INT8, which have `graphs`."""

    def __init__(self, bundle: Bundle, fp32: Backend, graphs: Mapping[str, bytes], threads: int | None = None) -> None:
        self._bundle, self._fp32, self._names = bundle, fp32, frozenset(graphs)
        self._int8 = OnnxBackend(_WithGraphs(bundle, graphs), threads)

    def excluding(self, excluded: Collection[str]) -> Chain:
        """The chain with all segments in INT8 that have an INT8 graph, but these."""
        return Chain(self._bundle, PlannedBackend(self._fp32, self._int8, self._names.difference(excluded)))


@dataclass(frozen=True)
class Targets:
    """What a plan must achieve."""

    agreement: float = 0.99  # the least share of videos with float32's label, 0 to 1
    drop: float = 0.005  # the largest loss of accuracy against float32, 0 to 1

    def hold(self, found: Comparison) -> bool:
        """Whether a measured change is within both."""
        return found["label_agreement"] >= self.agreement and found["top1_drop"] <= self.drop


@dataclass(frozen=True)
class Plan:
    """Which segments stay out of INT8, and the measurements that led to it."""

    excluded: list[str]  # segments out of INT8, the most sensitive first
    whole: Comparison  # with all segments in INT8
    alone: dict[str, Comparison]  # with one segment alone in INT8, the most sensitive first
    planned: Comparison | None  # with this plan; None where it excludes all segments


def find_plan(
    names: Sequence[str], compare: Callable[[Sequence[Excluded]], Mapping[Excluded, Comparison]], targets: Targets
) -> Plan:
    """Exclude as few segments from INT8 as the targets allow.

    Segments are excluded in the order of their sensitivity (label agreement, then distance of the probabilities, when
    they alone are in INT8) until the targets hold; then each is taken back into INT8 where that still holds. So none of
    the excluded ones can be taken back, but not all subsets were tried: another plan may exclude fewer.

    `names` are segments that have an INT8 graph. `compare` compares plans, each given by what it excludes, with
    float32, all in one pass over the videos.
    """
    found: dict[Excluded, Comparison] = {}

    def look_at(plans: Iterable[Excluded]) -> None:
        new = [plan for plan in dict.fromkeys(plans) if plan not in found]
        found.update(compare(new) if new else {})

    everything, nothing = frozenset(names), frozenset[str]()
    look_at([nothing, *(everything - {name} for name in names)])
    alone = {name: found[everything - {name}] for name in names}
    order = sorted(names, key=lambda name: (alone[name]["label_agreement"], -alone[name]["total_variation"]))
    excluded = nothing
    if not targets.hold(found[nothing]):
        nested = [frozenset(order[:count]) for count in range(1, len(order))]
        look_at(nested)
        excluded = next((plan for plan in nested if targets.hold(found[plan])), everything)
    while excluded:
        fewer = [excluded - {name} for name in reversed(order) if name in excluded]  # the least sensitive back first
        look_at(fewer)
        smaller = next((plan for plan in fewer if targets.hold(found[plan])), None)
        if smaller is None:
            break
        excluded = smaller
    ordered = {name: alone[name] for name in order}
    return Plan([name for name in order if name in excluded], found[nothing], ordered, found.get(excluded))
