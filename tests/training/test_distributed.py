"""Several processes learn what one learns."""

import contextlib
import io
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import SMALL, lines

from tlee.models.checkpoint import load_checkpoint
from tlee.training import cli

# In double precision, so that what rounding makes of itself over the steps stays far below what an error would.
SETTINGS = {
    "precision": "64-true",
    "model": {**SMALL["model"], "branch": "fc"},
    "stages": [
        {"stage": "joint", "epochs": 2, "batch": 8, "accumulate": 2, "learning_rate": 0.002, "distill": 0.5, "clip": 1},
        {"stage": "frames", "epochs": 1, "batch": 4, "learning_rate": 0.002},
        {"stage": "gate", "epochs": 1, "batch": 4, "learning_rate": 0.01},
    ],
}


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """The same run in one process, and in two of our own starting."""
    root = tmp_path_factory.mktemp("runs")
    data = {"train": str(folders / "train"), "val": str(folders / "val"), "cache": True}
    content = {**SMALL, "labels": [], "init": "random", "data": data, **SETTINGS}
    (root / "run.yml").write_text(yaml.safe_dump(content))
    arguments = [str(root / "run.yml"), "--accelerator", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.command([*arguments, "-o", str(root / "one")])
    command = ["-m", "tlee.training.cli", *arguments]
    return root, printed.getvalue(), started(root / "two", [*command, "--devices", "2"])


def started(folder, command):
    command = [sys.executable, *command, "-o", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def torchrun(runs):
    command = ["-m", "tlee.training.cli", str(runs[0] / "run.yml"), "--accelerator", "cpu"]
    started(runs[0] / "torchrun", ["-m", "torch.distributed.run", "--nproc-per-node", "2", *command])


@pytest.fixture(params=["two", pytest.param("torchrun", marks=pytest.mark.full)])
def several(request, runs):
    if request.param == "torchrun":
        request.getfixturevalue("torchrun")
    return request.param


def test_two_processes_have_the_loss_curve_of_one(runs, several):
    root, *_ = runs
    one, two = lines(root / "one"), lines(root / several)
    assert [row["event"] for row in one] == [row["event"] for row in two] and len(one) > 7
    for a, b in zip(one, two):
        # Losses are recorded in single precision. Weights go from stage to stage through a single precision file,
        # and what that rounds differently grows.
        tolerance = 1e-6 if a["stage"] == "joint" else 1e-4
        for name in {"loss", "val_loss"} & set(a):
            assert b[name] == pytest.approx(a[name], rel=tolerance)


def test_two_processes_end_with_the_weights_of_one(runs, several):
    root, *_ = runs
    one, two = (load_checkpoint(root / name / "best.safetensors").state_dict() for name in ("one", several))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


def test_only_the_first_process_speaks(runs):
    root, one, two = runs
    one, printed = one.replace(str(root / "one"), "RUN"), two.stdout.replace(str(root / "two"), "RUN")
    assert [line.split(":")[0] for line in printed.splitlines()] == [line.split(":")[0] for line in one.splitlines()]
    assert not [line for line in two.stderr.splitlines() if "Warning" in line]
