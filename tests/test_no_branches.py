"""A model without branches (published `branch_num: 0`): frames leave at the tail alone, the video may stop at a frame.
Every command takes it."""

import json
import shutil

import numpy as np
import pytest
import yaml
from conftest import SMALL, enliven, lines, small_model, write_clip
from helpers.boards import record, tlee_build

from tlee import cli as commands
from tlee.bundle import Bundle
from tlee.calibration.int8 import cli as calibrate_cli
from tlee.calibration.thresholds import cli as tune_cli
from tlee.calibration.thresholds import search
from tlee.errors import UsageError
from tlee.evaluation import cli as eval_cli
from tlee.export.exporter import export_bundle, plain
from tlee.info import describe
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.runtime import Recognizer
from tlee.runtime import cli as run_cli
from tlee.runtime.batch import BatchRecognizer
from tlee.training import cli as train_cli
from tlee.training.config import TrainingConfig

MODEL = {**SMALL["model"], "branches": 0}
CLASSES = ("jump", "run", "walk")
PER_CLASS = 16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(path, enliven(small_model(model=MODEL)))
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, checkpoint):
    """A verified bundle."""
    path = tmp_path_factory.mktemp("bundle") / "small.tlee"
    export_bundle(load_checkpoint(checkpoint), path, checkpoint, variants=["fp16"])
    return path


@pytest.fixture
def copied(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / "small.tlee")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for c, name in enumerate(CLASSES):
        (root / name).mkdir()
        for i in range(PER_CLASS):
            write_clip(root / name / f"{i:02}.mp4", frames=6 + i % 5, grey=70 * c + 4 * i)
    return root


def succeeds(command, *arguments):
    assert commands.run("tlee", command, [str(argument) for argument in arguments]) == 0


def test_a_bundle_has_one_split_and_the_tail_alone(bundle):
    opened = Bundle.open(bundle)
    assert set(opened.segments) == {"split0", "tail", "frm", "head", "gate"}
    assert (opened.exits, list(opened.manifest["fused_exits"])) == (1, ["exit0"])
    assert opened.manifest["verification"]["steps"] > 0
    assert any(line.startswith("tail ") and "100.0%" in line for line in describe(opened))


def test_other_parts_export_and_verify(tmp_path, checkpoint):
    changes = {"backbone": "mobilenetv2_tsm", "frm": "ema", "gate": "eg", "neck": 20}
    model = enliven(small_model(model={**MODEL, **changes}))
    export_bundle(model, tmp_path / "a.tlee", checkpoint)
    export_bundle(plain(model), tmp_path / "plain.tlee", checkpoint)


def test_one_at_a_time_several_and_a_stream_agree(bundle, videos):
    paths = [str(videos / name / "03.mp4") for name in CLASSES]
    with Recognizer.load(bundle, threads=1) as recognizer, BatchRecognizer.load(bundle, threads=1, batch=2) as several:
        alone = [recognizer.recognize(path) for path in paths]
        together = list(several.recognize(paths))
        assert [result.exit_layer for result in alone] == [0, 0, 0]
        assert [result.label for result in together] == [result.label for result in alone]
        confidences = [[result.confidence for result in results] for results in (alone, together)]
        assert np.allclose(*confidences, atol=1e-5)
        assert [window.exit_layer for window in recognizer.stream(paths[0], seconds=0.4)]


def test_the_video_stops_where_its_first_frame_is_sure(bundle, videos, tmp_path):
    out = tmp_path / "out.jsonl"
    succeeds(run_cli.command, bundle, videos / "run" / "00.mp4", "--first-threshold", 0, "--json", out, "--threads", 1)
    assert json.loads(out.read_text())["exit_frame"] == 0


def test_evaluating_gives_every_mode(bundle, checkpoint, videos, tmp_path):
    reports = []
    common = ("--data", videos, "--workers", 0, "--threads", 1, "--limit", 6)
    for number, subject in enumerate((bundle, checkpoint)):
        folder = tmp_path / str(number)
        succeeds(eval_cli.command, subject, "-o", folder, *common)
        reports.append(json.loads((folder / "report.json").read_text()))
        assert "no branches" in (folder / "index.html").read_text()
    assert reports[0]["modes"].keys() == reports[1]["modes"].keys()
    for mode in ("layer exit only", "no exit"):  # the tail is all there is
        assert reports[0]["modes"][mode]["share_of_macs"] == 1.0


def test_thresholds_are_tuned(copied, videos, tmp_path, monkeypatch):
    for name, size in {"GENERATIONS": 3, "OFFSPRING": 200, "START": 500}.items():
        monkeypatch.setattr(search, name, size)
    common = ("--data", videos, "-o", tmp_path / "report", "--workers", 0, "--threads", 1)
    succeeds(tune_cli.command, copied, "--max-accuracy-drop", 50, *common)
    points = Bundle.open(copied).manifest["exit_rule"]["operating_points"]
    assert set(points) == {"accurate", "balanced", "fast", "target"}
    assert all(len(point["thresholds"]["first"]) == 1 for point in points.values())
    assert "<svg" in (tmp_path / "report" / "index.html").read_text()


def test_int8_is_calibrated(copied, videos, tmp_path, undrawn):
    loose = ("--min-agreement", 0, "--max-accuracy-drop", 100, "--samples", 6, "--workers", 0, "--threads", 1)
    succeeds(calibrate_cli.command, copied, "--data", videos, "-o", tmp_path / "report", *loose)
    assert "no branches" in (tmp_path / "report" / "index.html").read_text()
    with Recognizer.load(copied, threads=1, precision="int8") as recognizer:
        assert recognizer.recognize(str(videos / "run" / "00.mp4")).exit_layer == 0


def test_engines_are_built(copied):
    built = tlee_build(copied)
    assert (built.returncode, built.stderr) == (0, "")
    assert set(record(copied)) == {"split0", "exit0"}


def training(folder, videos, **changes):
    file = folder / "own.yml"
    data = {"train": str(videos), "val": 0.2, "cache": True}
    content = {**SMALL, "model": MODEL, "labels": [], "init": "random", "data": data, **changes}
    file.write_text(yaml.safe_dump(content))
    return file


def test_training_goes_through_all_stages_but_that_of_branches(tmp_path, videos):
    stages = [
        {"stage": s, "epochs": 1, "batch": 16, "learning_rate": 0.01}
        for s in ("frames", "backbone", "joint", "gate", "all")
    ]
    run = tmp_path / "run"
    succeeds(train_cli.command, training(tmp_path, videos, stages=stages), "-o", run, "--accelerator", "cpu")
    assert len(lines(run, "epoch")[-1]["val_accuracy"][0]) == 1
    assert load_checkpoint(run / "best.safetensors").config.model.branches == 0
    assert (run / "accuracy.png").exists()


def test_the_published_recipe_leaves_the_stage_of_branches_out():
    config = TrainingConfig(recipe="published", model={"classes": 3, "branches": 0}, data={"train": "clips"})
    assert [stage.stage for stage in config.stages] == ["backbone", "gate"]


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"stage": "branches", "epochs": 1}, "stage branches, but the model has none"),
        ({"stage": "joint", "epochs": 1, "distill": 0.5}, "distill, but the model has no branches"),
    ],
)
def test_what_trains_branches_is_refused(tmp_path, videos, stage, words):
    with pytest.raises(UsageError, match=words):
        train_cli.load(str(training(tmp_path, videos, stages=[stage])), [])


def test_cuts_need_branches(tmp_path, videos):
    file = training(tmp_path, videos, model={**MODEL, "cuts": [4]})
    with pytest.raises(UsageError, match="1 cuts for 0 branches"):
        train_cli.load(str(file), [])
