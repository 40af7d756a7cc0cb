"""Reports come back from their files as they were, or not at all."""

import copy
import json

import pytest
from helpers.measurement_reports import example_report, without_power

from tlee.benchmarks.report import load_report, save_report
from tlee.errors import UsageError

REPORT = example_report(rounds=2)


def loaded_with(tmp_path, change):
    """What reading a report says after a change of its content."""
    content = copy.deepcopy(REPORT)
    change(content)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    return load_report(str(path))


def test_a_report_comes_back_as_it_was(tmp_path):
    path = str(tmp_path / "report.json")
    for report in (REPORT, without_power(copy.deepcopy(REPORT))):
        save_report(path, report)
        assert load_report(path) == report


def test_a_report_may_say_more_than_this_release_knows(tmp_path):
    assert loaded_with(tmp_path, lambda report: report["modes"][0].update(later=1))["modes"][0]["later"] == 1


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "is not JSON"),
        ('{"format": 1', "is not JSON"),
        ("[" * 100000, "is not JSON"),
        ('{"format": NaN}', "NaN is no number"),
        ("[1, 2]", "is not a report of tlee-bench"),
        ('{"format": 1, "program": "tlee-bench --compare"}', "is not a report of tlee-bench"),
        ('{"format": 2, "program": "tlee-bench"}', "has format 2, this release reads 1"),
        ('{"format": 1, "program": "tlee-bench"}', "is damaged: started is not there"),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_line(tmp_path, text, problem):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_report(str(path))
    line = str(refused.value)
    assert line.startswith(f"{path}: ") and problem in line and "\n" not in line


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_report(str(tmp_path / "nothing.json"))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not JSON"):
        load_report(str(tmp_path / "bytes.json"))


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda r: r["modes"].clear(), "modes is not a list with at least one mode"),
        (lambda r: r["modes"][1].pop("latency"), "modes.1.latency is not there"),
        (lambda r: r["modes"][0]["latency"].update(p90=3), "modes.0.latency.p90 is not an object"),
        (lambda r: r["modes"][0].update(blocks={}), "modes.0.blocks is not a list"),
        (lambda r: r["modes"][0]["blocks"][1]["video"].pop(), "modes.0.blocks.1.video is not as long as milliseconds"),
        (lambda r: r["modes"][0]["blocks"][0]["video"].__setitem__(0, 99), "not made of indices of load.videos"),
        (lambda r: r["modes"][0]["blocks"][0]["milliseconds"].__setitem__(0, -1), "not from 0 on throughout"),
        (lambda r: r["modes"][0]["blocks"][0]["milliseconds"].__setitem__(0, True), "milliseconds.0 is not a number"),
        (lambda r: r["modes"][0]["blocks"][0].update(end=10**13), "end is not a number"),
        (lambda r: r["modes"][0]["warm_up"].update(runs=10**6), "modes.0.warm_up.runs is not less than all runs"),
        (lambda r: r["modes"][0]["warm_up"].update(steady=1), "steady is not true or false"),
        (lambda r: r["modes"][0]["energy"]["blocks"].pop(), "energy.blocks is not as long as blocks"),
        (lambda r: r["graphs"][0].update(milliseconds=[]), "graphs.0.milliseconds is not from 0 on"),
        (lambda r: r["bundle"].update(exits=2.5), "bundle.exits is not a whole number from 0"),
        (lambda r: r["power"]["samples"]["watts"].pop(), "power.samples.watts is not as long as time"),
        (lambda r: r["power"]["samples"]["clocks"]["GPU"].pop(), "power.samples.clocks.GPU is not as long as time"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place(tmp_path, change, problem):
    with pytest.raises(UsageError) as refused:
        loaded_with(tmp_path, change)
    assert problem in str(refused.value)
