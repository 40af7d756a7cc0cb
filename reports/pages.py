"""Reports as pages of HTML that need nothing else: no script, no font, no picture from elsewhere.

The words are in `templates/`. Nothing in a report can become markup: Jinja2 escapes all but the plots.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tlee.reports import tables

ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {
    function.__name__: function
    for function in (tables.figures, tables.percent, tables.quantity, tables.thresholds_text)
}


def render(template: str, **values: Any) -> str:
    """A page. Raises jinja2.UndefinedError: the template asks for what the report lacks."""
    return ENVIRONMENT.get_template(template).render(values)
