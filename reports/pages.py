"""Reports as pages of HTML that need nothing else (no script, font or picture from elsewhere), and how numbers are
written there and on a terminal. The words are in `templates/`; Jinja2 escapes everything but the plots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

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
    value, low, high = (figures(found[key] if found else None) for key in ("value", "low", "high"))
    return value if "-" in (value, low, high) else f"{value}\u00a0({low}\u00a0to\u00a0{high})"


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


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {filter.__name__: filter for filter in (figures, percent, quantity, thresholds_text)}


def render(template: str, **values: Any) -> str:
    """A page. Raises jinja2.UndefinedError: the template asks for what the report lacks."""
    return ENVIRONMENT.get_template(template).render(values)
