"""Reports on disk: a folder with `report.json`, `index.html` and what else belongs to it; and how numbers are written
there and on a terminal.

A page needs no script, font or picture from elsewhere. Its words are in `templates/`; Jinja2 escapes all but the plots.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tlee.errors import UsageError
from tlee.files import atomic_write, write_json
from tlee.reports.atomic_folder import atomic_folder

JSON, PAGE = "report.json", "index.html"
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


def capitalize_first(text: str) -> str:
    """A line as a sentence begins; Jinja2's own `capitalize` makes all other letters small."""
    return text[:1].upper() + text[1:]


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
FILTERS = (capitalize_first, figures, percent, quantity, thresholds_text)
ENVIRONMENT.filters |= {filter.__name__: filter for filter in FILTERS}


def render(template: str, **values: Any) -> str:
    """A page. Raises jinja2.UndefinedError: the template asks for what the report lacks."""
    return ENVIRONMENT.get_template(template).render(values)


@contextlib.contextmanager
def report_folder(path: str | None, replace: bool = False) -> Iterator[Path | None]:
    """A folder for `write_report` that appears whole when the block ends, or not at all. Open it before the work.

    Args:
        path: None for no folder.

    Raises:
        UsageError: it exists (unless `replace`, and then it must be a report) or cannot be written.
    """
    if not path:
        yield None
        return
    if replace and os.path.lexists(path) and not os.path.isfile(os.path.join(path, JSON)):
        raise UsageError(path, "exists and is no report", "choose another name")
    with atomic_folder(path, replace) as folder:
        yield Path(folder)


def write_report(
    folder: Path, report: dict[str, Any], page: str, rows: Mapping[str, Iterable[dict[str, Any]]] | None = None
) -> None:
    """Write a report's values, its page, and by file name objects that take a line of JSON each, into a folder.

    Raises:
        UsageError: it has no room.
    """
    write_json(str(folder / JSON), report)
    texts: dict[str, Iterable[str]] = {PAGE: [page]}
    for name, objects in (rows or {}).items():
        texts[name] = (json.dumps(one, allow_nan=False, ensure_ascii=False) + "\n" for one in objects)
    for name, lines in texts.items():
        with atomic_write(str(folder / name)) as stream:
            stream.writelines(lines)
