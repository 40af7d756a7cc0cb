"""Each message that docs/troubleshooting.md quotes as tlee's own is one that the source can print."""

import ast
import re
from functools import cache
from typing import NamedTuple

import pytest
from conftest import ROOT
from helpers.rooms import folders

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:^(Said by [^\n]*):\n\n)?^```text\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"tlee-\w+: ")
FIELD = re.compile(r"\{[^{}]*\}")
ANYTHING = "\0"  # in a template, where something is put in
LETTERS = 4  # of a template's own, at least: less than that anything could match

MESSAGES = [text for said_by, text in BLOCK.findall(PAGE) if not said_by]
FOREIGN = [text for said_by, text in BLOCK.findall(PAGE) if said_by]


class Template(NamedTuple):
    text: str
    parts: list[str]  # its own words, between what is put in
    pattern: re.Pattern


@cache
def templates() -> list[Template]:
    """Every text in the source, as a pattern in which anything may stand where something is put in."""
    found = set()
    for path in (path for folder in folders() for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(str(v.value) if isinstance(v, ast.Constant) else ANYTHING for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(FIELD.sub(ANYTHING, node.value))
            elif isinstance(node, ast.BinOp) and isinstance(node.left, ast.Constant):  # a text, and something behind it
                found.add(f"{node.left.value}{ANYTHING}")
    split = {text: text.split(ANYTHING) for text in found if sum(c.isalpha() for c in text) >= LETTERS}
    return [
        Template(text, parts, re.compile("(.+?)".join(map(re.escape, parts)))) for text, parts in sorted(split.items())
    ]


@cache
def printed(text: str) -> bool:
    """Whether a template makes this text, of what can stand where something is put in."""
    for template in templates():
        if text == template.text:
            return True
        match = all(part in text for part in template.parts) and template.pattern.fullmatch(text)
        if match and all(map(put_in, match.groups())):
            return True
    return False


def put_in(text: str) -> bool:
    """A word (a path, a number, a placeholder), placeholders, or a text of the source itself."""
    words = text.strip("()").split()
    return len(words) <= 1 or all(word.isupper() or not word.isalpha() for word in words) or printed(text)


def is_ours(message: str) -> bool:
    """`PROGRAM: SUBJECT: PROBLEM; REMEDY`, a note, or a line of a report."""
    text = PROGRAM.sub("", message, count=1)
    if printed(text):
        return True
    for subject in re.finditer(": ", text):
        rest = text[subject.end() :]
        if not put_in(text[: subject.start()]):
            continue
        ends = list(re.finditer("; ", rest))
        if (ends and printed(rest)) or any(printed(rest[: end.start()]) and printed(rest[end.end() :]) for end in ends):
            return True
    return False


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_quoted_as_ours_is_in_the_source(message):
    assert is_ours(message)


@pytest.mark.parametrize(
    "message",
    [
        "tlee-run: my.tlee: made of cheese; eat it",
        "tlee-run: my.tlee: no such bundle; give the folder that tlee-import wrote (NAME.tlee)",  # another remedy
        "tlee-run: my.tlee: no such bundle",  # none
        "tlee-run: FILE: breaks off: N of M frames can be seen; copy the file again, or re-encode it "
        "(ffmpeg -i FILE -c:v libx264 NEW.mp4)",
        "attention: other programs kept N cores idle",
    ],
)
def test_a_message_that_nothing_prints_is_noticed(message):
    assert not is_ours(message)


def test_what_others_say_is_marked_and_not_ours():
    assert len(FOREIGN) >= 15
    assert not [text for text in FOREIGN if PROGRAM.match(text)]


def test_the_likely_messages_are_there():
    assert len(set(MESSAGES)) == len(MESSAGES) >= 40
    commands = {PROGRAM.match(text)[0] for text in MESSAGES if PROGRAM.match(text)}
    assert commands >= {f"tlee-{name}: " for name in ("train", "eval", "export", "tune", "build", "run", "bench")}


def test_every_block_of_the_page_is_looked_at():
    fences = len(re.findall(r"^```(?:text)$", PAGE, re.MULTILINE))
    assert fences == len(MESSAGES) + len(FOREIGN)


def test_every_step_has_its_part():
    linked = re.findall(r"\]\(#([\w-]+)\)", PAGE.split("\n## ", 1)[0])
    parts = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)]
    assert linked == parts
