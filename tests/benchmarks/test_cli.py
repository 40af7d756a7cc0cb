"""`tlee-bench` as users call it: what it prints and writes, and one clear line for whatever is wrong."""

import json
import subprocess
import sys

import pytest

from tlee import cli
from tlee.benchmarks.cli import PROGRAM, command
from tlee.benchmarks.report import load_report

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
    for text in ("early exits ", "layer exit only ", "random exit ", "no exit ", "split1", "exit2 ", "cold start: "):
        assert text in process.stdout
    assert load_report(str(folder / "a.json"))["load"]["videos"] == [f"{folder}/good.mp4"]
    costs = json.loads((folder / "profile.json").read_text())
    assert costs["graphs"]["split0"]["milliseconds"] > 0 and costs["power"] is None


def test_inputs_may_stand_behind_options(small_bundle, capsys):
    arguments = [str(small_bundle), "--power", "none", "none.mp4", "--rounds", "3", "nothing.mp4"]
    assert cli.run(PROGRAM, command, arguments) == 1
    assert [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()] == ["none.mp4", "nothing.mp4"]


def test_a_report_is_shown_again(measured, capsys):
    folder, process = measured
    assert cli.run(PROGRAM, command, ["--show", f"{folder}/a.json"]) == 0
    assert capsys.readouterr().out == process.stdout


def test_reports_are_compared(measured, tmp_path, capsys):
    report = f"{measured[0]}/a.json"
    assert cli.run(PROGRAM, command, ["--compare", report, report, "--json", f"{tmp_path}/c.json"]) == 0
    assert "no significant difference" in capsys.readouterr().out
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert rows and {row["verdict"] for row in rows} == {"no significant difference"}


def test_an_interrupted_measurement_leaves_the_files_of_a_whole_one(small_bundle, tmp_path, monkeypatch, capsys):
    def rounds(bench, number, name):
        if number:
            raise KeyboardInterrupt

    monkeypatch.setattr("tlee.benchmarks.bench.Bench._round", rounds)
    old, new = tmp_path / "old.html", tmp_path / "new.json"
    old.write_text("whole")
    outputs = ["--page", str(old), "--json", str(new)]
    assert cli.run(PROGRAM, command, [str(small_bundle), *QUICK, *outputs]) == 130
    said = "interrupted, this is what was measured until then; as before: {}"
    assert capsys.readouterr().err == f"tlee-bench: {said.format(old)}\n"
    assert old.read_text() == "whole" and json.loads(new.read_text())["modes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "bundle: none given; tlee-bench NAME.tlee"),
        (["none.tlee"], "none.tlee: no such bundle"),
        (["BUNDLE", "none.mp4"], "none.mp4: no such file"),
        (["BUNDLE", "FOLDER"], "FOLDER: no video in this folder"),
        (["BUNDLE", "--point", "fast"], "no operating point 'fast'; choose of: none"),
        (["BUNDLE", "--modes", "early"], "early exits cannot be measured on noise; give videos"),
        (["BUNDLE", "--json", "FOLDER/none/a.json"], "none/a.json: cannot be written (No such file or directory)"),
        (["BUNDLE", "--page", "FOLDER"], "FOLDER: cannot be written (Is a directory)"),
        (["BUNDLE", "--plain", "BUNDLE"], "has 3 exits; export it with --plain"),
        (["BUNDLE", "--power", "nvml"], "nvml"),
        (["--show", "FOLDER/none.json"], "none.json: "),
        (["--compare", "FOLDER/none.json", "FOLDER/none.json"], "none.json: "),
        (["BUNDLE", "--precision", "int8"], "has no int8 variant; make it with tlee-calibrate"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message, small_bundle, tmp_path, capsys):
    names = {"BUNDLE": str(small_bundle), "FOLDER": str(tmp_path)}

    def filled(text):
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    status = cli.run(PROGRAM, command, [filled(text) for text in arguments])
    out, err = capsys.readouterr()
    assert status in (1, 2) and out == "" and len(err.splitlines()) == 1
    assert err.startswith("tlee-bench: ") and filled(message) in err


@pytest.mark.parametrize(
    "arguments",
    [["--modes", "fast"], ["--rounds", "0"], ["--block", "-1"], ["--margin", "200"], ["--compare", "a"], ["--fast"]],
)
def test_values_that_mean_nothing_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as refused:
        command(arguments)
    assert refused.value.code == 2 and arguments[0] in capsys.readouterr().err
