"""Several processes learn what one learns."""

import contextlib
import io
import multiprocessing
import os
import socket
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import SMALL, lines
from lightning_fabric.utilities import rank_zero_only

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
def runs(folders, tmp_path_factory, without_plots):
    """The same run in one process, and in two that are forked, which spares them loading PyTorch."""
    root = tmp_path_factory.mktemp("runs")
    data = {"train": str(folders / "train"), "val": str(folders / "val"), "cache": True}
    content = {**SMALL, "labels": [], "init": "random", "data": data, **SETTINGS}
    (root / "run.yml").write_text(yaml.safe_dump(content))
    arguments = [str(root / "run.yml"), "--accelerator", "cpu"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.command([*arguments, "-o", str(root / "one")])
    return root, printed.getvalue(), in_two(root / "two", arguments)


def in_two(folder, arguments):
    """What two processes print, joined as torchrun says it to them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        joined = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "none"}
    joined |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    printed = folder.parent / "printed"

    def process(rank):
        os.environ.update(joined, RANK=str(rank), LOCAL_RANK=str(rank))
        rank_zero_only.rank = rank  # which is read when it is imported
        torch.set_num_threads(1)
        with open(printed, "a") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                cli.command([*arguments, "-o", str(folder)])

    processes = [multiprocessing.get_context("fork").Process(target=process, args=[rank]) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], printed.read_text()
    return printed.read_text()


def started(folder, command):
    command = [sys.executable, *command, "-o", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def torchrun(runs):
    command = ["-m", "tlee.training.cli", str(runs[0] / "run.yml"), "--accelerator", "cpu"]
    started(runs[0] / "torchrun", ["-m", "torch.distributed.run", "--nproc-per-node", "2", *command])


@pytest.fixture(scope="module")
def devices(runs):
    command = ["-m", "tlee.training.cli", str(runs[0] / "run.yml"), "--accelerator", "cpu", "--devices", "2"]
    return started(runs[0] / "devices", command)


@pytest.fixture(params=["two", *(pytest.param(way, marks=pytest.mark.full) for way in ("torchrun", "devices"))])
def several(request, runs):
    if request.param != "two":
        request.getfixturevalue(request.param)
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
    one, printed = one.replace(str(root / "one"), "RUN"), two.replace(str(root / "two"), "RUN")
    printed = [line for line in printed.splitlines() if not line.startswith("[Gloo]")]
    assert [line.split(":")[0] for line in printed] == [line.split(":")[0] for line in one.splitlines()]


@pytest.mark.full
def test_of_its_own_processes_only_the_first_speaks(runs, devices):
    root, one, _ = runs
    one, printed = one.replace(str(root / "one"), "RUN"), devices.stdout.replace(str(root / "devices"), "RUN")
    assert [line.split(":")[0] for line in printed.splitlines()] == [line.split(":")[0] for line in one.splitlines()]
    assert not [line for line in devices.stderr.splitlines() if "Warning" in line]
