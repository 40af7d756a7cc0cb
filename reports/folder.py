"""A report on disk: a folder with `index.html`, `report.json` and whatever else belongs to it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tlee.errors import UsageError
from tlee.files import atomic_write, write_json
from tlee.reports.atomic_folder import atomic_folder

JSON, PAGE = "report.json", "index.html"


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
    texts = {PAGE: page}
    for name, objects in (rows or {}).items():
        texts[name] = "".join(json.dumps(one, allow_nan=False, ensure_ascii=False) + "\n" for one in objects)
    for name, text in texts.items():
        with atomic_write(str(folder / name)) as stream:
            stream.write(text)
