"""Which segments run in INT8: sensitivity segment by segment, and a plan that keeps as few as possible out of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlee.bundle import Bundle
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

Kept = frozenset[str]  # segments that stay in higher precision; all others that have a form run in INT8
Comparison = dict[str, Any]  # see `tlee.calibration.int8.measure.Measured.compare`


class FormedBundle(Bundle):
    """A bundle, some of whose segments are read in forms that it does not hold (yet)."""

    def __init__(self, bundle: Bundle, forms: Mapping[str, bytes]) -> None:
        super().__init__(bundle.path, bundle.manifest)
        self._forms = forms

    def read(self, segment: str, precision: str = "fp32") -> bytes:
        return self._forms[segment] if segment in self._forms else super().read(segment, precision)


class PlannedBackend(ForwardingBackend):
    """Runs some segments on one backend, the others on another; both must take each other's values."""

    def __init__(self, fp32: Backend, int8: Backend, names: Collection[str]) -> None:
        super().__init__(fp32)
        self._int8, self._names = int8, frozenset(names)

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> list[Any]:
        return (self._int8 if graph in self._names else self._backend).run(graph, *inputs, rows=rows)


class Chains:
    """Chains of a bundle by what they keep in float32.

    Args:
        forms: INT8 forms of segments.
        threads: None for the number of cores this process may use.
    """

    def __init__(self, bundle: Bundle, forms: Mapping[str, bytes], threads: int | None = None) -> None:
        self._bundle, self._forms = bundle, frozenset(forms)
        self._fp32 = OnnxBackend(bundle, threads)
        self._int8 = OnnxBackend(FormedBundle(bundle, forms), threads)

    def keeping(self, kept: Collection[str]) -> Chain:
        return Chain(self._bundle, PlannedBackend(self._fp32, self._int8, self._forms - frozenset(kept)))


@dataclass(frozen=True)
class Targets:
    """What a plan has to hold."""

    agreement: float = 0.99  # the least share of videos with float32's label, 0 to 1
    drop: float = 0.005  # the largest loss of accuracy against float32, 0 to 1

    def hold(self, found: Comparison) -> bool:
        """Whether a measured change is within both."""
        return found["label_agreement"] >= self.agreement and found["top1_drop"] <= self.drop


@dataclass(frozen=True)
class Plan:
    """Which segments stay out of INT8, and what was measured to say so.

    Attributes:
        kept: segments out of INT8, the most sensitive first.
        whole: what INT8 in all segments changes.
        alone: what INT8 in one segment alone changes, the most sensitive first.
        planned: what the plan changes; None where it keeps all segments.
    """

    kept: list[str]
    whole: Comparison
    alone: dict[str, Comparison]
    planned: Comparison | None


def find_plan(
    forms: Sequence[str], measure: Callable[[Sequence[Kept]], Mapping[Kept, Comparison]], targets: Targets
) -> Plan:
    """Keep as few segments out of INT8 as the targets allow.

    Segments are kept in the order of their sensitivity (label agreement, then distance of the probabilities, when they
    alone are in INT8) until the targets hold; then each is taken back into INT8 where that still holds. So none of the
    kept ones can be taken back, but not all subsets were tried: another plan may keep fewer.

    Args:
        forms: segments that have an INT8 form.
        measure: compares plans, each given by what it keeps, with float32. All plans of a call share one pass over the
            videos.
    """
    found: dict[Kept, Comparison] = {}

    def look_at(plans: Iterable[Kept]) -> None:
        new = [kept for kept in dict.fromkeys(plans) if kept not in found]
        found.update(measure(new) if new else {})

    everything, nothing = frozenset(forms), frozenset[str]()
    look_at([nothing, *(everything - {name} for name in forms)])
    alone = {name: found[everything - {name}] for name in forms}
    order = sorted(forms, key=lambda name: (alone[name]["label_agreement"], -alone[name]["total_variation"]))
    kept = nothing
    if not targets.hold(found[nothing]):
        nested = [frozenset(order[:count]) for count in range(1, len(order))]
        look_at(nested)
        kept = next((plan for plan in nested if targets.hold(found[plan])), everything)
    while kept:
        fewer = [kept - {name} for name in reversed(order) if name in kept]  # the least sensitive back first
        look_at(fewer)
        smaller = next((plan for plan in fewer if targets.hold(found[plan])), None)
        if smaller is None:
            break
        kept = smaller
    ordered = {name: alone[name] for name in order}
    return Plan([name for name in order if name in kept], found[nothing], ordered, found.get(kept))
