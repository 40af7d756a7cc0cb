"""Files with the names of a data set's classes: one a line, numbered as `classInd.txt`, or JSON as ssv2's."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlee.errors import UsageError
from tlee.reading import MB, parse_json, read_text

NAMES_LIMIT = 8 * MB  # 10,000 names have 300 KB
NUMBER = re.compile("[0-9]{1,9}")
NUMBERED = re.compile(r"[0-9]{1,9}\s+\S")


def read_class_names(path: str | Path, classes: int | None = None) -> list[str]:
    """Class names in the order of their indices, which count from 0 or 1.

    Args:
        classes: how many there have to be; None for any number.

    Raises:
        UsageError: the file cannot be read, or names other classes than these, one twice, or some without a number.
    """
    path = Path(path)
    text = plain_text(path, NAMES_LIMIT)
    if path.suffix.lower() == ".json" or text.lstrip().startswith("{"):
        content = json_value(path, text)
        if not isinstance(content, dict) or not all(NUMBER.fullmatch(str(number)) for number in content.values()):
            raise UsageError(path, 'not of the shape {"class name": "number"}', "give the data set's own label file")
        numbered = sorted((int(number), name) for name, number in content.items())
    else:
        numbered = sorted(_from_lines(path, text))
    names = [name for _, name in numbered]
    distinct = len(set(names))
    if classes is not None and (len(names) != classes or distinct != classes):
        problem = f"not a list of {classes} names ({len(names)} found, {distinct} of them different)"
        raise UsageError(path, problem, "give each class a name of its own, one a line")
    if not names or distinct < len(names):
        raise UsageError(path, "a class is named twice" if names else "no class names here", "correct the file")
    first = numbered[0][0]
    if first > 1 or [number for number, _ in numbered] != list(range(first, first + len(names))):
        raise UsageError(path, f"its {len(names)} classes are not numbered without gaps", "give the complete file")
    return names


def _from_lines(path: Path, text: str) -> list[tuple[int, str]]:
    rows = list(numbered_lines(text))
    # The first line says whether names are numbered, so that a number lost among them is noticed.
    if not rows or not NUMBERED.match(rows[0][1]):
        return list(enumerate(line for _, line in rows))
    for number, line in rows:
        if not NUMBERED.match(line):
            problem = f"line {number} is not 'number name': {shortened(line)}"
            raise UsageError(path, problem, "number every class or none")
    return [(int(number), name) for number, name in (line.split(maxsplit=1) for _, line in rows)]


def plain_text(path: Path, limit: int) -> str:
    """The content of a text file of at most `limit` bytes. Raises UsageError."""
    text = read_text(str(path), limit)
    if "\0" in text:
        raise UsageError(path, "not text", "save it as UTF-8")
    return text


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not blank."""
    # Not splitlines(): that breaks at characters which may be part of a name.
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        if line.strip():
            yield number, line.strip()


def json_value(path: Path, text: str) -> Any:
    """The value in a file's JSON. Raises UsageError."""
    try:
        return parse_json(text.encode())
    except ValueError as error:
        raise UsageError(path, f"not JSON ({error})", "copy the file again") from None


def shortened(text: str) -> str:
    """At most 80 characters of a text, for messages."""
    return text if len(text) <= 80 else text[:77] + "..."
