"""Damaged forms of good files, always the same ones for a seed: bytes of any kind, values of JSON, text of YAML."""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

Content = TypeVar("Content")
Mutate = Callable[[Any, random.Random], Any]

# Values that a parser takes, or may take, and that no writer of ours ever meant.
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 255, 256, 65536, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**30),
    *(0.5, -0.0, -1.5, 1e-320, 1e30, 1e308, float("inf"), float("-inf"), float("nan")),
    *("", " ", "0", "-1", "①", "1e999", "\x00", "\x1b[2J", "a\nb", "\u202e", "\ud800", "../../etc/passwd", "/"),
    *("x" * 5000, [], {}, [[]], [{}], {"": None}, {"*": 1}, [None] * 3, [0] * 100, list(range(2000))),
)
ODD_NUMBERS = ("0", "-1", "1", "00", "0x_", "1e999", "-.inf", ".nan", "99999999999999999999", "4294967296", "1.5", "①")
ODD_YAML = (
    *("~", "[]", "{}", "- 1", "&a [*a]", "*nothing", "!!python/object:os.system x", "!!binary a", "!!set {a}", "é"),
    *("190:20:30", "0x_", "2020-13-40", "? [a]\n: b", "{[a]: b}", "1: 2", "true: false", "'", '"', "|", ">"),
    *("[" * 200, "{a: " * 200, "<<: *a", "<<: 1", "!!int x", "!!timestamp x", "!!float x", "0b_", "._", "="),
    *("%YAML 9.9", "---", "...", "\t", "\x00", "\x07"),
)
WORDS = (
    *(b"\x00" * 8, b"\xff" * 8, b"\x7f" + b"\xff" * 7, b"\x00\x00\x00\x80", struct.pack("<Q", 1 << 40)),
    *(b"\r\n", b'"', b"{", b"PK"),
)


def mutations(good: Content, mutate: Mutate, count: int, seed: int = 0) -> Iterator[Content]:
    """So many mutations of what is good, each made of it anew by one to four changes.

    Args:
        mutate: one change: `of_bytes`, `of_value` or `of_yaml`.
    """
    for i in range(count):
        draw, content = random.Random(f"{seed} {i}"), good
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            content = mutate(content, draw)
        yield content


def of_bytes(content: bytes, draw: random.Random) -> bytes:
    """Bits turned, parts cut out, doubled, moved or overwritten, the end missing; the first bytes more often."""
    if not content:
        return draw.choice(WORDS)
    reach = len(content) if draw.random() < 0.5 else min(len(content), 256)
    start = draw.randrange(reach)
    end = min(len(content), start + draw.choice((1, 1, 2, 4, 8, 64, 4096)))
    kind = draw.randrange(7)
    if kind == 0:
        turned = content[start] ^ (1 << draw.randrange(8))
        return content[:start] + bytes([turned]) + content[start + 1 :]
    if kind == 1:
        return content[:start] + bytes(draw.randrange(256) for _ in range(min(end - start, 64))) + content[end:]
    if kind == 2:
        return content[:start] + content[end:]
    if kind == 3:
        return content[:end] + content[start:]
    if kind == 4:
        return content[:start]
    word = draw.choice(WORDS)
    return content[:start] + word + content[start + (len(word) if kind == 5 else 0) :]


def of_value(value: Any, draw: random.Random) -> Any:
    """A value of JSON of which one part, at any depth, is odd, gone, twice there, or of another's kind."""
    value = copy.deepcopy(value)
    if not _parts(value):
        return draw.choice(ODD_VALUES)
    holder, key = _place(value, draw)
    kind = draw.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 1:
        holder[draw.choice(("", "x", "\x1b[2J", "\ud800", "①"))] = holder.pop(key)
    elif kind == 2:
        other, place = _place(value, draw)
        holder[key] = copy.deepcopy(other[place])
    elif kind == 3 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = draw.choice((-holder[key], holder[key] + 1, holder[key] * 10**9, holder[key] / 3))
    else:
        holder[key] = draw.choice(ODD_VALUES)
    return value


def of_yaml(text: str, draw: random.Random) -> str:
    """YAML of which a line, a value or a number is odd, gone, twice there or elsewhere."""
    lines = text.split("\n")
    place = draw.randrange(len(lines))
    kind = draw.randrange(7)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(draw.randrange(len(lines)), lines[place])
    elif kind == 2:
        lines[place] = draw.choice((" ", "  ", "- ", "\t")) + lines[place]
    elif kind == 3:
        lines[place] = re.sub(r"-?\d+(\.\d+)?", lambda _: draw.choice(ODD_NUMBERS), lines[place])
    elif kind == 4:
        lines[place] = re.sub(r"(:|-) .*", lambda found: f"{found[1]} {draw.choice(ODD_YAML)}", lines[place])
    elif kind == 5:
        lines[place] = re.sub(r"\w+(?=:)", lambda _: draw.choice(ODD_YAML), lines[place], count=1)
    else:
        at = draw.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:at] + draw.choice((*ODD_YAML, *":,-[]{}#&*!|>'\"%@`")) + lines[place][at:]
    return "\n".join(lines)


def as_json(value: Any) -> bytes:
    """A mutated value as a file: what is no JSON (NaN, half surrogate pairs) as Python writes it."""
    return json.dumps(value).encode()


def _place(value: Any, draw: random.Random) -> tuple[Any, Any]:
    """A part of a value, as its holder and its key there, at any depth: those of a long list no more often."""
    while True:
        key = draw.choice(_parts(value))
        if not _parts(value[key]) or draw.random() < 0.25:
            return value, key
        value = value[key]


def _parts(value: Any) -> Any:
    return list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
