"""Measurements are read as they were written, with summaries of what was measured, or not at all."""

import copy
import json

import pytest
from helpers.measurement_reports import as_measured, example_report, without_power

from tlee.errors import UsageError
from tlee.modes import EARLY, NONE, ONE, THREE
from tlee.reports.measurement import changes, load
from tlee.reports.measurement_text import lines

MEASURED = as_measured(example_report(rounds=2))


def loaded_with(tmp_path, change):
    """What reading a report says after a change of its content."""
    content = copy.deepcopy(MEASURED)
    change(content)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    return load(str(path))


def test_what_was_measured_comes_back_as_it_was(tmp_path):
    for content in (MEASURED, as_measured(without_power(example_report(rounds=2)))):
        (tmp_path / "report.json").write_text(json.dumps(content))
        report = load(str(tmp_path / "report.json"))
        for part in ("started", "seconds", "bundle"):
            assert report[part] == content[part]
        assert report["load"] == {**content["load"], "labelled": True}
        assert [mode["blocks"] for mode in report["modes"]] == [mode["blocks"] for mode in content["modes"]]
        assert {**content["power"], "changes": report["power"]["changes"]} == report["power"]


def test_early_exits_are_compared_with_what_they_have_to_beat_in_accuracy_and_time(tmp_path):
    def answered(content):
        content["load"]["labels"] = [0] * 20
        for mode in content["modes"]:
            wrong = 5 if mode["mode"] == EARLY else 10
            for result in mode["results"]:
                result["class"] = int(result["class"] < wrong)

    def unlabelled(content):
        content["load"]["labels"][3] = None

    report = loaded_with(tmp_path, answered)
    (found,) = report["rivals"].values()
    assert list(report["rivals"]) == ["early exits (balanced)"] and list(found) == [ONE, THREE, NONE]
    means = {mode["mode"]: mode["latency"]["mean"]["value"] for mode in report["modes"]}
    assert (found[ONE]["difference"], found[ONE]["only_first"], found[ONE]["only_second"]) == (0.25, 5, 0)
    assert found[ONE]["cost_ratio"] == pytest.approx(means[EARLY] / means[ONE], abs=1e-5)
    (line,) = (text for text in lines(report) if " one frame (" in text)
    assert line.startswith("early exits (balanced): 25.0 points above one frame (95 % interval +")
    assert line.endswith(" times its mean time")
    assert loaded_with(tmp_path, unlabelled)["rivals"] == {}


def test_energy_is_that_of_the_blocks_that_know_it(tmp_path):
    def set_joules(content):
        content["power"]["idle"]["watts"] = 2.0
        content["modes"] = content["modes"][:1]
        blocks = content["modes"][0]["blocks"] = content["modes"][0]["blocks"][:2] * 2
        for block in blocks:
            block.update(start=10.0, end=10.3, milliseconds=[5.0] * 50, video=[0] * 50, frames=100)
        content["modes"][0]["blocks"] = [dict(b, joules=j) for b, j in zip(blocks, (None, 1.5, None, 2.5))]

    (mode,) = loaded_with(tmp_path, set_joules)["modes"]
    energy = mode["energy"]
    assert energy["blocks"] == [None, pytest.approx(30), None, pytest.approx(50)]
    assert energy["gross"]["value"] == pytest.approx(40)
    assert energy["net"]["value"] == pytest.approx(40 - 1000 * 2 * 0.3 / 50)
    assert energy["watts"] == pytest.approx(4 / 0.6)
    assert energy["per_frame"] == {"gross": pytest.approx(20), "net": pytest.approx(14)}
    assert mode["rate"] == {"videos": pytest.approx(200 / 1.2), "frames": pytest.approx(400 / 1.2)}
    assert mode["warm_up"] == {"runs": 0, "steady": True}
    assert mode["latency"]["runs"] == 200 and mode["latency"]["median"]["value"] == 5


def test_exits_and_answers_are_of_one_pass(tmp_path):
    def answered(content):
        content["load"].update(videos=["a", "b"], labels=[1, 2])
        content["modes"] = content["modes"][:1]
        content["modes"][0]["results"] = [
            {"class": 1, "exits": [3], "share": 0.1},
            {"class": 0, "exits": [0, 0, 2], "share": 0.3},
        ]
        for block in content["modes"][0]["blocks"]:
            block["video"] = [0] * len(block["video"])

    def unlabelled(content):
        answered(content)
        content["load"]["labels"] = [1, None]
        content["modes"][0]["tuned_accuracy"] = 0.9

    (mode,) = loaded_with(tmp_path, answered)["modes"]
    assert mode["exits"][:4] == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert mode["answers"] == {"accuracy": 0.5, "of": "videos", "share": 0.2, "frames": 2}
    (mode,) = loaded_with(tmp_path, unlabelled)["modes"]
    assert (mode["answers"]["accuracy"], mode["answers"]["of"]) == (0.9, "tuning")
    (mode,) = loaded_with(tmp_path, lambda r: (unlabelled(r), r["modes"][0].update(tuned_accuracy=None)))["modes"]
    assert (mode["answers"]["accuracy"], mode["answers"]["of"]) == (None, None)


def test_the_warm_up_is_left_out_of_latencies(tmp_path):
    def slow_first(content):
        for mode in content["modes"]:
            for b, block in enumerate(mode["blocks"]):
                times = [20.0] * 50 + [10.0] * 200 if b == 0 else [10.0] * 250
                block.update(milliseconds=times, video=[0] * 250)

    for mode in loaded_with(tmp_path, slow_first)["modes"]:
        assert mode["warm_up"] == {"runs": 50, "steady": True}
        assert mode["latency"]["runs"] == 450 and mode["latency"]["mean"]["value"] == 10


def test_clocks_that_step_and_modes_that_change_are_reported():
    samples = {
        "time": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0],
        "clocks": {"GPU": [921, 930, 614, 614, 910, 614, 614]},
        "state": {"nvpmodel": ["MAXN"] * 5 + ["5W"] * 2},
    }
    assert changes(samples) == [
        {"time": 2.0, "what": "GPU clock 921 to 614 MHz"},
        {"time": 3.5, "what": "nvpmodel MAXN to 5W"},
    ]


def test_small_steps_that_add_up_are_a_change():
    samples = {"time": range(8), "clocks": {"CPU": [1000.0 - 20 * min(i, 5) for i in range(8)]}, "state": {}}
    assert [change["what"] for change in changes(samples)] == ["CPU clock 1000 to 940 MHz"]


def test_a_report_may_say_more_than_this_release_knows(tmp_path):
    assert loaded_with(tmp_path, lambda report: report["modes"][0].update(later=1))["modes"][0]["later"] == 1


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "not readable as JSON"),
        ('{"format": 2', "not readable as JSON"),
        ("[" * 100000, "not readable as JSON"),
        ('{"format": NaN}', "NaN is no number"),
        ("[1, 2]", "is not a measurement of tlee-bench"),
        ('{"format": 2, "program": "tlee-report"}', "is not a measurement of tlee-bench"),
        ('{"format": 1, "program": "tlee-bench"}', "has format 1, this release reads 2"),
        ('{"format": 2, "program": "tlee-bench"}', "is damaged: must contain ['bundle', "),
    ],
)
def test_a_file_that_is_no_report_is_refused_in_one_line(tmp_path, text, problem):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load(str(path))
    line = str(refused.value)
    assert line.startswith(f"{path}: ") and problem in line and "\n" not in line


def test_a_file_that_is_missing_or_not_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load(str(tmp_path / "nothing.json"))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not readable as JSON"):
        load(str(tmp_path / "bytes.json"))


@pytest.mark.parametrize(
    "change, problem",
    [
        (lambda r: r["modes"].clear(), "modes must contain at least 1 items"),
        (lambda r: r["modes"][1].pop("results"), "modes.1 must contain ['results'] properties"),
        (lambda r: r["modes"][0]["results"].__setitem__(0, 3), "modes.0.results.0 must be object"),
        (lambda r: r["modes"][0]["results"].pop(), "modes.0.results is not as long as load.videos"),
        (lambda r: r["modes"][0]["results"][0].update(exits=[4]), "has frames or exits that the bundle does not have"),
        (lambda r: r["load"]["labels"].pop(), "load.labels is not as long as videos"),
        (lambda r: r["modes"][0].update(blocks={}), "modes.0.blocks must be array"),
        (lambda r: r["modes"][0]["blocks"][1]["video"].pop(), "modes.0.blocks.1.video is not as long as milliseconds"),
        (lambda r: r["modes"][0]["blocks"][0]["video"].__setitem__(0, 99), "other numbers than indices of load.videos"),
        (
            lambda r: r["modes"][0]["blocks"][0]["milliseconds"].__setitem__(0, -1),
            "milliseconds.0 has another type or is out of range",
        ),
        (lambda r: r["modes"][0]["blocks"][0]["milliseconds"].__setitem__(0, True), "milliseconds.0 must be number"),
        (
            lambda r: r["modes"][0]["blocks"][0].update(end=10**13),
            "modes.0.blocks.0.end has another type or is out of range",
        ),
        (lambda r: r["modes"][0]["blocks"][0].update(end=0), "modes.0 has a block that ends before it starts"),
        (lambda r: r["modes"][0]["blocks"][0].update(milliseconds=[]), "milliseconds must contain at least 1 items"),
        (lambda r: r["modes"][0].update(overlapped=1), "overlapped must be boolean"),
        (lambda r: r["graphs"][0].update(blocks=[]), "graphs.0.blocks must contain at least 1 items"),
        (lambda r: r["bundle"].update(exits=2.5), "bundle.exits must be integer"),
        (lambda r: r["power"]["samples"]["watts"].pop(), "power.samples.watts is not as long as time"),
        (lambda r: r["power"]["samples"]["clocks"]["GPU"].pop(), "power.samples.clocks.GPU is not as long as time"),
    ],
)
def test_a_damaged_report_is_refused_with_the_place(tmp_path, change, problem):
    with pytest.raises(UsageError) as refused:
        loaded_with(tmp_path, change)
    assert problem in str(refused.value)
