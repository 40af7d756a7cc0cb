"""The documents and the steps a reader takes in them: commands and pieces of Python, in order."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT
from markdown_it import MarkdownIt
from markdown_it.token import Token

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "docker/README.md"]
DOCUMENTS += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))

LANGUAGES = ("sh", "python", "text", "yaml", "json")
WORKSTATION = "workstation"
BOARDS = ("nano", "orin")
PLACE = re.compile(r"<!-- on: board (\w+) -->")
QUOTED = re.compile(r"<!-- from: (\S+) -->")
COMMENT = re.compile(r"(^|\s+)#(\s.*)?$")


class Fence(NamedTuple):
    """A fenced block. `note` is the HTML comment right before it, or nothing."""

    line: int
    language: str
    text: str
    note: str


class Step(NamedTuple):
    """A command, or a block of Python. `machine` is where the reader is: the workstation, or a board."""

    document: str
    line: int
    kind: str
    text: str
    machine: str


@cache
def tokens(document: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / document).read_text(encoding="utf-8"))


def fences(document: str) -> list[Fence]:
    """All of a document's. A block that is code by its indentation has no language."""
    found: list[Fence] = []
    note = ""
    for token in tokens(document):
        if token.type in ("fence", "code_block"):
            assert token.map
            found.append(Fence(token.map[0] + 1, token.info.strip(), token.content, note))
        if token.type == "html_block":
            note = token.content.strip()
        elif not token.type.endswith("_open"):  # of a list, which may begin between comment and fence
            note = ""
    return found


def steps(document: str) -> list[Step]:
    """Every command of `sh` blocks, one per line, every Python block, and what a table says to install with pip."""
    found = []
    for line, language, text, note in fences(document):
        place = PLACE.fullmatch(note)
        machine = place.group(1) if place else WORKSTATION
        if language == "python" and not QUOTED.fullmatch(note):
            found.append(Step(document, line + 1, "python", text, machine))
        if language == "sh":
            found += [Step(document, line + 1 + n, "sh", command, machine) for n, command in commands(text)]
    found += [Step(document, line, "sh", text, WORKSTATION) for line, text in installations(document)]
    return sorted(found, key=lambda step: step.line)


def commands(text: str) -> list[tuple[int, str]]:
    """Commands of a block, with the number of their line in it from 0: continued lines are one, comments are off.

    Examples:
        >>> commands("# first\\nmake it   # now\\nrun a \\\\\\n  -b\\n")
        [(1, 'make it'), (2, 'run a -b')]
    """
    found: list[tuple[int, str]] = []
    start, parts = 0, ""
    for number, line in enumerate(text.splitlines()):
        start = start if parts else number
        parts += COMMENT.sub("", line).strip()
        if parts.endswith("\\"):
            parts = parts[:-1].rstrip() + " "
            continue
        if parts:
            found.append((start, parts))
        parts = ""
    return found


def installations(document: str) -> list[tuple[int, str]]:
    """`pip install ...` in the cells of tables: what a reader types as well."""
    found, inside, line = [], False, 0
    for token in tokens(document):
        inside = token.type == "table_open" or (inside and token.type != "table_close")
        line = token.map[0] + 1 if token.map else line
        for child in token.children or []:
            if inside and child.type == "code_inline" and child.content.startswith("pip install "):
                found.append((line, child.content))
    return found


def quotations(document: str) -> list[tuple[Fence, Path]]:
    """Blocks that show a part of a file (`<!-- from: FILE -->`), and that file."""
    named = [(fence, QUOTED.fullmatch(fence.note)) for fence in fences(document)]
    return [(fence, ROOT / match.group(1)) for fence, match in named if match]
