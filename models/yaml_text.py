"""YAML of any origin as plain values. What would not be read as it looks is refused: duplicate keys, dates, and
numbers that are not decimal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tlee.reading import is_name

NESTING = 50
PARTS = 100_000  # keys and values, aliases written out
TAG = "tag:yaml.org,2002:"
NUMBERS = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]{0,17})"),
    "float": re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"),
}
PLAIN = {"str", "bool", "null", "map", "seq", "merge", *NUMBERS}


def parse_yaml(text: str) -> Any:
    """The value of a document: strings, numbers, booleans, None, lists, and dictionaries with strings as keys.

    Raises:
        ValueError: it is not YAML, or has other values; says where.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        for part in _parts(node):
            _check(part)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _wrong(mark, f"{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from None
    except (KeyError, TypeError, AttributeError, IndexError):  # a value of another type than its tag names
        raise ValueError("a value is not of the type that it names") from None


class _Loader(yaml.SafeLoader):
    """Refuses deep nesting, which would overflow the stack."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > NESTING:
            raise _wrong(self.peek_event().start_mark, "nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    """All nodes, those behind aliases as often as they are used."""
    left, count = [(node, 0)], 0
    while left:
        node, depth = left.pop()
        count += 1
        if depth > NESTING or count > PARTS:
            raise _wrong(node.start_mark, "nested too deeply" if depth > NESTING else "too many values")
        yield node
        if isinstance(node, yaml.MappingNode):
            left += [(part, depth + 1) for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            left += [(part, depth + 1) for part in node.value]


def _check(node: yaml.Node) -> None:
    kind = node.tag.removeprefix(TAG)
    if kind not in PLAIN:
        raise _wrong(node.start_mark, f"a value of type {kind[:20]}: put it in quotes if it is a text")
    if kind in NUMBERS and not NUMBERS[kind].fullmatch(str(node.value)):
        problem = f"'{str(node.value)[:20]}' is no plain number: write it in decimals, or in quotes if it is a text"
        raise _wrong(node.start_mark, problem)
    if isinstance(node, yaml.ScalarNode) and not is_name(node.value):
        raise _wrong(node.start_mark, "a zero byte, or half of a surrogate pair, which no name can have")
    seen = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{TAG}str", f"{TAG}merge"):
            raise _wrong(key.start_mark, "a key that is no text: put it in quotes")
        if key.value in seen:
            raise _wrong(key.start_mark, f"the key '{key.value[:40]}' is given twice: remove one")
        seen.add(key.value)


def _wrong(mark: yaml.Mark | None, problem: str) -> ValueError:
    return ValueError(f"line {mark.line + 1}: {problem}" if mark else problem)
