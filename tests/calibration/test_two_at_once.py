"""Of two commands that write one place the second ends at its start, before it has worked."""

import pytest
from helpers.kills import locked_elsewhere

from tlee import cli
from tlee.calibration.int8.cli import command as calibrate
from tlee.calibration.thresholds.cli import command as tune
from tlee.evaluation.cli import command as evaluate
from tlee.export.cli import command as export


@pytest.mark.parametrize(
    ("program", "command", "options"),
    [
        ("tlee-tune", tune, "{bundle} --data {videos}"),
        ("tlee-tune", tune, "{bundle} --data {videos} -o {other}"),
        ("tlee-calibrate", calibrate, "{bundle} --data {videos}"),
        ("tlee-eval", evaluate, "{bundle} --data {videos} -o {other}"),
        ("tlee-export", export, "{checkpoint} -o {other}"),
    ],
)
def test_the_second_one_is_refused(
    program, command, options, bundle_of_all_exits, labelled_videos, small_checkpoint, tmp_path, monkeypatch, capsys
):
    for module in ("calibration.thresholds.tune", "calibration.int8.calibrate", "evaluation.evaluated"):
        monkeypatch.setattr(f"tlee.{module}.OnnxBackend", None)  # no work
    places = {"bundle": bundle_of_all_exits, "videos": labelled_videos, "checkpoint": small_checkpoint}
    place = tmp_path / "other" if "{other}" in options else bundle_of_all_exits
    with locked_elsewhere(place):
        status = cli.run(program, command, options.format(**places, other=tmp_path / "other").split())
    said = "another command is writing it; wait until that has ended, or choose another name"
    assert (status, capsys.readouterr().err) == (2, f"{program}: {place}: {said}\n")
    assert not list(tmp_path.iterdir())
