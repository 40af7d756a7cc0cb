"""The cost that the front weighs accuracy against: multiply-accumulates, or a device's milliseconds or millijoules."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.costs import Costs
from tlee.errors import UsageError
from tlee.models.config import validated
from tlee.reading import read_json

MEASURE = "measure this bundle on the device (tlee-bench --profile)"
MACS, MILLISECONDS, MILLIJOULES = "MACs", "ms", "mJ"


class GraphProfile(BaseModel):
    """Mean costs of one run of a segment or fused exit; `macs` to tell which model's it is."""

    milliseconds: float = Field(gt=0, le=1e9)
    millijoules: float | None = Field(None, gt=0, le=1e12)
    macs: int | None = Field(None, ge=0)


class Profile(BaseModel):
    """A device's measurements by `tlee-bench`, which hold more than is read here: see `tlee.benchmarks.profile`."""

    format: Literal[1]
    device: str
    # Of the chain that ran there, by name in the bundle; `frame` is decoding, preparing and uploading one.
    graphs: dict[str, GraphProfile]


class Metric(NamedTuple):
    """How to compute the cost of a video, and its unit."""

    unit: str  # MACS, MILLISECONDS or MILLIJOULES
    costs: Costs
    device: str | None  # whose profile, None for MACs


def metric_of(bundle: Bundle, profile: str | None, unit: str | None) -> Metric:
    """Costs of a bundle's segments, or of its fused exits where the device ran these.

    Args:
        profile: the file that tlee-bench wrote on the device; None for MACs.
        unit: MILLISECONDS or MILLIJOULES; None for milliseconds with a profile, MACs without.

    Raises:
        UsageError: time or energy without a profile, or one that lacks them for a graph, or is of another model.
    """
    if profile is None:
        if unit is not None:
            problem, remedy = "needs costs of the device", "give its tlee-bench profile (--profile)"
            raise UsageError(f"a target in {unit}", problem, remedy)
        return Metric(MACS, Costs.of_bundle(bundle), None)
    content = read_json(profile, remedy=MEASURE)
    if not isinstance(content, dict):
        raise UsageError(profile, "not a profile of tlee-bench", MEASURE)
    read, key = validated(profile, content, Profile), "millijoules" if unit == MILLIJOULES else "milliseconds"
    graphs, names = read.graphs, bundle.chain(FUSED if "exit0" in read.graphs else SEPARATE)
    for name in names:
        if name in graphs and graphs[name].macs not in (None, bundle.graph(name).macs):
            raise UsageError(profile, f"is of another model, its {name} differs", "measure this bundle on the device")
    costs = {name: getattr(graphs[name], key) for name in (*names, "frame") if name in graphs}
    missing = [name for name in (*names, *costs) if costs.get(name) is None]
    if missing:
        raise UsageError(profile, f"has no {key} of {missing[0]}", "measure this bundle on the device again")
    return Metric(unit or MILLISECONDS, Costs(costs), read.device)
