"""What the front weighs accuracy against: multiply-accumulates, or a device's milliseconds or millijoules."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from tlee.bundle import Bundle
from tlee.costs import Costs
from tlee.errors import UsageError
from tlee.models.config import load_config

MACS, MILLISECONDS, MILLIJOULES = "MACs", "ms", "mJ"


class Section(BaseModel):
    model_config = ConfigDict(extra="ignore")  # a device's profile holds more than is read here


class SegmentProfile(Section):
    """One run of a segment, means."""

    milliseconds: float = Field(gt=0)
    millijoules: float | None = Field(None, gt=0)


class Profile(Section):
    """What `tlee-bench` measured on a device.

    Attributes:
        device: its name.
        segments: by name in the bundle.
        frame: decoding, preparing and uploading one frame.
    """

    format: Literal[1]
    device: str
    segments: dict[str, SegmentProfile]
    frame: SegmentProfile | None = None


class Metric(NamedTuple):
    """`unit`: MACS, MILLISECONDS or MILLIJOULES. `device`: whose profile, None for MACs."""

    unit: str
    costs: Costs
    device: str | None


def metric_of(bundle: Bundle, profile: str | None, unit: str | None) -> Metric:
    """Costs of a bundle's segments.

    Args:
        profile: the file that tlee-bench wrote on the device; None for MACs.
        unit: MILLISECONDS or MILLIJOULES; None for milliseconds with a profile, MACs without.

    Raises:
        UsageError: time or energy without a profile, or one that lacks them for a segment.
    """
    if profile is None:
        if unit is not None:
            raise UsageError(
                f"a target in {unit}", "needs costs of the device", "give its tlee-bench profile (--profile)"
            )
        return Metric(MACS, Costs({name: segment.macs for name, segment in bundle.segments.items()}), None)
    read, key = load_config(profile, Profile), "millijoules" if unit == MILLIJOULES else "milliseconds"
    parts = dict(read.segments, **({"frame": read.frame} if read.frame else {}))
    costs = {name: getattr(parts[name], key) for name in (*bundle.segments, "frame") if name in parts}
    missing = [name for name in (*bundle.segments, *costs) if costs.get(name) is None]
    if missing:
        raise UsageError(profile, f"has no {key} of {missing[0]}", "measure this bundle on the device again")
    return Metric(unit or MILLISECONDS, Costs(costs), read.device)
