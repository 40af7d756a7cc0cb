"""How numbers are written in all reports, on a terminal and on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Rows = list[list[str]]  # the first is the head


def figures(value: float | None) -> str:
    """A number with three figures, or all before the point.

    Examples:
        >>> figures(0.0712), figures(5), figures(4321.9), figures(None)
        ('0.0712', '5.00', '4322', '-')
    """
    if value is None:
        return "-"
    places = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(0, places)}f}"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def interval(bounds: Sequence[float]) -> str:
    """Bounds of a share, in per cent."""
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def quantity(found: Mapping[str, Any] | None) -> str:
    """A value with its interval, where there is one, on one line.

    Examples:
        >>> quantity({"value": 3.1, "low": 3.0, "high": 3.25})
        '3.10\xa0(3.00\xa0to\xa03.25)'
    """
    if found is None or found["value"] is None:
        return "-"
    text = figures(found["value"])
    if found["low"] is None or found["high"] is None:
        return text
    return f"{text}\u00a0({figures(found['low'])}\u00a0to\u00a0{figures(found['high'])})"


def cost_unit(full: float, unit: str = "MACs") -> tuple[float, str]:
    """What to divide costs by so that the full computation's is easily read, and the name of what comes out.

    Examples:
        >>> cost_unit(47_479_680)
        (1000000.0, 'MMACs')
    """
    if unit != "MACs":
        return 1.0, unit
    return (1e9, "GMACs") if full >= 1e9 else (1e6, "MMACs")


def thresholds_text(thresholds: Mapping[str, Sequence[float]]) -> str:
    """Thresholds of all kinds and exits on one line."""
    return "; ".join(f"{kind} {', '.join(f'{value:.6g}' for value in values)}" for kind, values in thresholds.items())
