"""`tlee-bench` and `tlee-report` as users call them: what they print and write, and one line for what is wrong."""

import json
import subprocess
import sys

import pytest

from tlee import cli
from tlee.benchmarks.cli import PROGRAM, command
from tlee.reports import cli as report_cli
from tlee.reports.measurement import load

QUICK = ["--rounds", "3", "--block", "0.02", "--cold", "1", "--sustained", "0.05", "--power", "none"]


def tlee_bench(*arguments):
    # A process of its own: it shares one thread pool among all its sessions.
    command = [sys.executable, "-m", "tlee.benchmarks.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, small_bundle):
    """Of two clips, one of them damaged: the folder of what was written, and the process."""
    from conftest import write_clip

    folder = tmp_path_factory.mktemp("bench")
    write_clip(folder / "good.mp4", 9)
    (folder / "damaged.mp4").write_bytes(b"no video")
    written = ["--json", folder / "a.json", "--profile", folder / "profile.json"]
    return folder, tlee_bench(small_bundle, folder / "good.mp4", folder / "damaged.mp4", *QUICK, *written)


def test_a_table_is_printed_and_what_was_asked_for_is_written(measured):
    folder, process = measured
    assert process.returncode == 1  # for the damaged clip
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"tlee-bench: {folder}/damaged.mp4: not a video")
    for text in (
        "early exits ",
        "layer exit only ",
        "one frame ",
        "three frames ",
        "no exit ",
        "split1",
        "exit2 ",
        "cold start: ",
    ):
        assert text in process.stdout
    assert load(str(folder / "a.json"))["load"]["videos"] == [f"{folder}/good.mp4"]
    costs = json.loads((folder / "profile.json").read_text())
    assert costs["graphs"]["split0"]["milliseconds"] > 0 and costs["power"] is None


def test_inputs_may_stand_behind_options(small_bundle, capsys):
    arguments = [str(small_bundle), "--power", "none", "none.mp4", "--rounds", "3", "nothing.mp4"]
    assert cli.run(PROGRAM, command, arguments) == 1
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["none.mp4", "nothing.mp4"]


def tlee_report(*arguments):
    return cli.run(report_cli.PROGRAM, report_cli.command, [*map(str, arguments)])


def test_a_measurement_is_shown_with_its_intervals(measured, tmp_path, capsys):
    folder, _ = measured
    assert tlee_report(folder / "a.json", "--json", tmp_path / "b.json", "--profile", tmp_path / "costs.json") == 0
    shown = capsys.readouterr().out
    for text in ("early exits ", "95 %", "runs after the warm-up: ", "split1", "cold start: "):
        assert text in shown
    assert json.loads((tmp_path / "b.json").read_text()) == load(str(folder / "a.json"))
    assert (tmp_path / "costs.json").read_text() == (folder / "profile.json").read_text()


def test_a_measurement_is_drawn(measured, tmp_path, monkeypatch):
    monkeypatch.setattr("tlee.reports.measurement_page.page", lambda report: "<html>")
    assert tlee_report(measured[0] / "a.json", "--page", tmp_path / "a.html") == 0
    assert (tmp_path / "a.html").read_text() == "<html>"


def test_measurements_are_compared(measured, tmp_path, capsys):
    report = measured[0] / "a.json"
    assert tlee_report(report, report, "--json", tmp_path / "c.json") == 0
    assert "no significant difference" in capsys.readouterr().out
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert rows and {row["verdict"] for row in rows} == {"no significant difference"}


def test_a_board_is_estimated(small_bundle, tmp_path, capsys):
    (tmp_path / "results.jsonl").write_text('{"frames": [{"exit_layer": 0}]}\n')
    written = ["--json", tmp_path / "e.json", "--profile", tmp_path / "costs.json"]
    assert tlee_report("--estimate", "jetson-nano", small_bundle, tmp_path / "results.jsonl", *written) == 0
    assert "ESTIMATE, nothing was measured" in capsys.readouterr().out
    assert json.loads((tmp_path / "e.json").read_text())["estimate"] is True
    assert json.loads((tmp_path / "costs.json").read_text())["device"] == "Jetson Nano (estimate)"


def test_an_interrupted_measurement_leaves_the_files_of_a_whole_one(small_bundle, tmp_path, monkeypatch, capsys):
    def show(line, text):
        if text.startswith("round 2"):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli.StatusLine, "show", show)
    monkeypatch.setattr(cli.StatusLine, "clear", lambda line: None)
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("whole")
    outputs = ["--profile", str(old), "--json", str(new)]
    assert cli.run(PROGRAM, command, [str(small_bundle), *QUICK, *outputs]) == 130
    said = "interrupted, this is what was measured until then; as before: {}"
    assert capsys.readouterr().err == f"tlee-bench: {said.format(old)}\n"
    assert old.read_text() == "whole" and json.loads(new.read_text())["modes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.tlee"], "none.tlee: no such bundle"),
        (["BUNDLE", "none.mp4"], "none.mp4: no such file"),
        (["BUNDLE", "FOLDER"], "FOLDER: no video in this folder"),
        (["BUNDLE", "--point", "fast"], "no operating point 'fast'; choose of: none"),
        (["BUNDLE", "--modes", "early"], "early exits cannot be measured on noise; give videos"),
        (["BUNDLE", "--json", "FOLDER/none/a.json"], "none/a.json: cannot be written (No such file or directory)"),
        (["BUNDLE", "--profile", "FOLDER"], "FOLDER: cannot be written (Is a directory)"),
        (["BUNDLE", "--plain", "BUNDLE"], "has 3 exits; export it with --plain"),
        (["BUNDLE", "--power", "nvml"], "nvml"),
        (["BUNDLE", "--precision", "int8"], "has no int8 variant; make it with tlee-calibrate"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments, message, small_bundle, tmp_path, capsys):
    is_refused(PROGRAM, command, arguments, message, small_bundle, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FOLDER/none.json"], "none.json: "),
        (["FOLDER/none.json", "FOLDER/none.json"], "none.json: "),
        (["a.json", "b.json", "c.json"], "3 were given; give one measurement, or two to compare"),
        (["a.json", "b.json", "--profile", "FOLDER/p.json"], "--profile: "),
        (["BUNDLE", "--estimate", "nano"], "nano: no such board is known"),
        (["none.tlee", "--estimate", "jetson-nano"], "none.tlee: no such bundle"),
        (["BUNDLE", "FOLDER/none.jsonl", "--estimate", "jetson-nano"], "none.jsonl: "),
        (["BUNDLE", "--page", "FOLDER", "--estimate", "jetson-nano"], "FOLDER: cannot be written (Is a directory)"),
    ],
)
def test_what_cannot_be_reported_is_one_line(arguments, message, small_bundle, tmp_path, capsys):
    is_refused(report_cli.PROGRAM, report_cli.command, arguments, message, small_bundle, tmp_path, capsys)


def is_refused(program, command, arguments, message, small_bundle, tmp_path, capsys):
    names = {"BUNDLE": str(small_bundle), "FOLDER": str(tmp_path)}

    def filled(text):
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    status = cli.run(program, command, [filled(text) for text in arguments])
    out, err = capsys.readouterr()
    assert status in (1, 2) and out == "" and len(err.splitlines()) == 1
    assert err.startswith(f"{program}: ") and filled(message) in err


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (command, ["--modes", "fast"]),
        (command, ["--rounds", "0"]),
        (command, ["--block", "-1"]),
        (command, ["--fast", "NAME.tlee"]),
        (report_cli.command, ["--margin", "200"]),
        (report_cli.command, ["--precision", "int4"]),
    ],
)
def test_values_that_mean_nothing_are_refused(command, arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        command(arguments)
    assert refused.value.code == 2 and arguments[0] in capsys.readouterr().err
