"""What measurements share: who takes turns with whom, what the numbers say, where tables go."""

import argparse
import json

import pytest

from tlee.benchmarks.development import table, timing
from tlee.errors import UsageError


@pytest.fixture
def result(tmp_path, capsys):
    options = argparse.Namespace(threads=2, json=str(tmp_path / "result.json"))
    report = timing.Report("chain", "chained splits / one graph", options, ["numpy"])
    report.add("a", {"one, ms": [1, 2, 3], "two, ms": [2, 4, 9]}, timing.ratio([2, 4, 9], [1, 2, 3]), 1.5)
    report.add("b", {"one, ms": [4], "two, ms": [4]}, timing.spread([1.0]), 1.5)
    report.finish()
    assert "at most 1.5 (missed)" in capsys.readouterr().out
    return tmp_path / "result.json"


def test_functions_take_turns_and_each_begins():
    calls = []
    times = timing.in_turns([lambda: calls.append("a"), lambda: calls.append("b")], runs=2, warm_up=1)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert [len(of_one) for of_one in times] == [2, 2] and min(map(min, times)) > 0


def test_a_ratio_is_that_of_each_pair():
    assert timing.ratio([2, 4, 9], [1, 2, 3]) == {"median": 2.0, "quartiles": [2.0, 2.5], "runs": 3}


def test_a_report_says_what_was_measured_where_and_whether_that_is_enough(result):
    content = json.loads(result.read_text())
    assert content["machine"]["threads"] == 2 and set(content["versions"]) == {"numpy", "python", "tlee"}
    assert content["background_cpu"] >= 0
    missed, reached = content["results"]
    assert missed["parts"]["two, ms"] == {"median": 4.0, "quartiles": [3.0, 6.5], "runs": 3}
    assert (missed["reached"], reached["reached"]) == (False, True)


def test_a_busy_machine_is_mentioned(result):
    content = dict(json.loads(result.read_text()), background_cpu=0.0)
    assert timing.place(content).endswith(f"tlee {content['versions']['tlee']}")
    assert timing.place(dict(content, background_cpu=1.26)).endswith("; other programs on 1.3 cores")


def test_a_goal_may_be_a_lower_bound():
    report = timing.Report("pytorch", "faster", argparse.Namespace(threads=1, json=None), [], at_most=False)
    report.add("a", {}, timing.spread([2.0]), 3)
    assert timing.goal(report.result["results"][0]) == "at least 3 (missed)"


def test_the_table_goes_between_the_markers_of_a_page(result, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n", encoding="utf-8")
    other = json.loads(result.read_text())
    other["machine"]["device"] = "another one"
    other["background_cpu"] = 1.3
    (tmp_path / "other.json").write_text(json.dumps(other))
    table.command([str(result), str(tmp_path / "other.json"), "--write", str(page)])
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{table.BEGIN}| measured |") and text.endswith(f"{table.END}after\n")
    assert "| chained splits / one graph | a | 2.000 | 2.000 to 2.500 | at most 1.5 (missed) |" in text
    assert "other programs on 1.3 cores.\n" in text.split("Measured on another one")[1]
    assert text.count("| measured |") == 2 and "Measured on another one" in text and "old" not in text


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{table.END}{table.BEGIN}", encoding="utf-8")
    with pytest.raises(UsageError, match="no place for the table"):
        timing.write_between(str(page), table.BEGIN, table.END, [])
    assert page.read_text(encoding="utf-8") == f"{table.END}{table.BEGIN}"


@pytest.mark.parametrize("content", ["not JSON", "[]", "{}"])
def test_a_file_that_holds_no_result_is_named(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="x.json"):
        table.command([str(path)])
