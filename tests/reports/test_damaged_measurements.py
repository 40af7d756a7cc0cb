"""Reports that were damaged, or written in bad faith: one line, or what they say, and no traceback."""

import json
import random

import pytest
from helpers.measurement_reports import as_measured, example_report

from tlee import cli
from tlee.reports.cli import PROGRAM, command

REPORT = as_measured(example_report(rounds=2, videos=4))
NUMBERS = [0, -1, 1, 0.5, 7, 1e18, 1e100, 1e299, -1e299, 9e299, 1e-320, 2**62, -(2**62), 10**30, 10**400]
VALUES = [None, True, "", "x", "\ud800", "\x1b[2J\u009b", "$\\frac{$", "<script>", [], {}, [1], {"a": 1}, *NUMBERS]
KINDS = {
    "shown": ["{}"],
    "compared": ["{good}", "{}"],
    "paged": ["{}", "--page", "{out}"],
    "compared and paged": ["{}", "{good}", "--page", "{out}"],
    "profiled": ["{}", "--profile", "{out}"],
}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Plots take a second and more."""
    from matplotlib.figure import Figure

    plot = '<svg width="100pt" height="10pt" viewBox="0 0 100 10"></svg>'
    monkeypatch.setattr(Figure, "savefig", lambda figure, stream, **_: stream.write(plot))


def damaged(drawn):
    """The report with a few values somewhere in it changed, left out, or given twice."""
    report = json.loads(json.dumps(REPORT))
    for _ in range(drawn.choice([1, 1, 1, 2, 3])):
        node = report
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = drawn.choice(keys)
            if isinstance(node[key], (dict, list)) and node[key] and drawn.random() < 0.95:
                node = node[key]
                continue
            change(drawn, node, key)
            break
    content = json.dumps(report).encode()
    if drawn.random() < 0.1:
        place = drawn.randrange(len(content))
        content = content[:place] + bytes([drawn.randrange(256)]) + content[place + drawn.choice([0, 1, 9]) :]
    return content


def change(drawn, node, key):
    choice = drawn.random()
    if choice < 0.1:
        del node[key]
    elif choice < 0.2 and isinstance(node, list):
        node.append(node[key])
    elif choice < 0.25 and isinstance(node, list):
        node.clear()
    elif isinstance(node[key], (int, float)) and choice < 0.8:
        node[key] = drawn.choice(NUMBERS)
    else:
        node[key] = drawn.choice(VALUES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [15, pytest.param(2000, marks=pytest.mark.full)])
def test_a_damaged_report_is_one_line_or_what_it_says(tmp_path, capsys, kind, count):
    names = {name: str(tmp_path / name) for name in ("good", "out")}
    (tmp_path / "good").write_text(json.dumps(REPORT))
    bad, statuses = tmp_path / "bad.json", set()
    for seed in range(count):
        bad.write_bytes(damaged(random.Random(seed)))
        statuses.add(cli.run(PROGRAM, command, [text.format(bad, **names) for text in KINDS[kind]]))
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err and "\u009b" not in said.out + said.err
        assert len(said.err.splitlines()) <= 1, seed
    assert statuses == {cli.OK, cli.WRONG_USE}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 10**6, "nested too deep"),
        (b'{"a": 1' + b"0" * 10**7 + b"}", "beyond 64 bits"),
        (b"\xff", "not readable as JSON"),
        (b"", "not readable as JSON"),
        (json.dumps({**REPORT, "started": "\ud800"}).encode(), "half of a surrogate pair"),
    ],
)
def test_what_is_no_report_is_one_line(tmp_path, capsys, content, words):
    (tmp_path / "bad.json").write_bytes(content)
    assert cli.run(PROGRAM, command, [str(tmp_path / "bad.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_a_report_of_many_gigabytes_is_refused_unread(tmp_path, capsys):
    with open(tmp_path / "large.json", "wb") as stream:
        stream.truncate(40 << 30)
    assert cli.run(PROGRAM, command, [str(tmp_path / "large.json")]) == 2
    assert "more than the" in capsys.readouterr().err
