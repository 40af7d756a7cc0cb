"""The house keeps its order: who may import whom, how long modules and functions are, nothing written twice."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT
from helpers.rooms import folders

MODULE, FUNCTION, SAME = 350, 60, 6  # lines
SOURCES = sorted(path for folder in folders() for path in (ROOT / folder).rglob("*.py"))
# The order of imports stands in the README once, for readers and for this test.
ORDER = re.search(r"^([a-z]+(?: → [a-z]+)+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    """The room of a module by its dotted name below `tlee`; modules of tlee/ itself are in the room `tlee`."""
    first = module.split(".")[0]
    return first if first in folders() else "tlee"


def imported(path: Path) -> Iterator[str]:
    """Dotted names below `tlee` that a module imports, wherever in it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name[len("tlee.") :] for name in names if name.startswith("tlee."))


def test_every_room_has_its_place_in_the_readmes_order():
    assert ORDER and sorted(ORDER[1].split(" → ")) == folders()


def test_each_room_imports_only_what_stands_before_it():
    place = {room: i for i, room in enumerate(ORDER[1].split(" → "))}
    upwards = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in SOURCES
        for name in imported(path)
        if place[room_of(name)] > place[path.relative_to(ROOT).parts[0]]
    }
    assert upwards == set()


def test_modules_and_functions_are_short():
    long = {str(path.relative_to(ROOT)): n for path in SOURCES if (n := len(path.read_text().splitlines())) > MODULE}
    for path in SOURCES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION:
                    long[f"{path.relative_to(ROOT)}: {node.name}"] = length
    assert long == {}


def code_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of the lines that say something: no blank ones, comments, imports or brackets alone."""
    found, imports = (
        [],
        {
            n
            for node in ast.walk(parsed(path))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for n in range(node.lineno, node.end_lineno + 1)
        },
    )
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        if number not in imports and re.search(r"\w", text) and not text.startswith("#"):
            found.append((number, text))
    return found


def test_no_six_lines_stand_in_two_places():
    places = defaultdict(list)
    for path in SOURCES:
        lines = code_lines(path)
        for i in range(len(lines) - SAME + 1):
            window = lines[i : i + SAME]
            places[tuple(text for _, text in window)].append(f"{path.relative_to(ROOT)}:{window[0][0]}")
    assert [where for where in places.values() if len(where) > 1] == []
