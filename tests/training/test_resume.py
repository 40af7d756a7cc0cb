"""A killed run goes on as if nothing had happened."""

import contextlib
import json
import multiprocessing
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import lines, same_models
from helpers.kills import locked_elsewhere
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from tlee.errors import CheckpointError, UsageError
from tlee.models.checkpoint import load_checkpoint
from tlee.training import cli, train
from tlee.training.run_folder import STATE, RunFolder

STAGES = [
    {"stage": "frames", "epochs": 2, "batch": 2, "learning_rate": 0.01, "warmup": 1, "schedule": "cosine", "clip": 1.0},
    {"stage": "joint", "epochs": 2, "batch": 4, "learning_rate": 0.01, "patience": 1},
]


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def config(configuration, tmp_path_factory):
    # 12 steps: states are saved within and at the end of epochs.
    file = tmp_path_factory.mktemp("config") / "run.yml"
    file.write_text(yaml.safe_dump(configuration(stages=STAGES, save_steps=3)))
    return file


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory, without_plots):
    """A run that nobody cut off."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    cli.command([str(config), "-o", str(folder), "--accelerator", "cpu"])
    return folder


@pytest.fixture
def arguments(config, tmp_path):
    """Command-line arguments of a run into a folder."""
    return lambda folder: [str(config), "-o", str(tmp_path / folder), "--accelerator", "cpu", "--resume"]


@pytest.fixture
def finished(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_run_cut_off_at_any_save_gives_the_same_numbers(arguments, whole, tmp_path, monkeypatch):
    saved, save = [], RunFolder.save_state

    def cut_off(self, progress, *state):
        if len(saved) == run:
            raise Killed  # just before the state is written: what came since the one before is lost
        save(self, progress, *state)
        saved.append((progress.stage, progress.epoch, progress.step))

    monkeypatch.setattr(RunFolder, "save_state", cut_off)
    for run in range(10):  # each saves one state more than the one before, and the next one goes on from it
        with pytest.raises(Killed) if run < 9 else contextlib.nullcontext():
            cli.command(arguments("cut"))
    # Within epochs and at their ends, in both stages, and at the ends of stages.
    assert saved == [(0, 0, 3), (0, 1, 0), (0, 1, 2), (0, 2, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 2, 0), (2, 0, 0)]
    cut = tmp_path / "cut"
    assert lines(whole) == lines(cut)
    for name in ("best.safetensors", "last.safetensors"):
        assert same_models(whole / name, cut / name)


def test_a_run_killed_by_the_system_resumes(arguments, whole, tmp_path):
    metrics, state = tmp_path / "cut" / "metrics.jsonl", tmp_path / "cut" / STATE
    for size in (1, 900):  # after the first lines, and well into the run
        process = multiprocessing.get_context("fork").Process(target=in_one_thread, args=[arguments("cut")])
        process.start()
        limit = time.monotonic() + 600
        while process.is_alive() and not (metrics.exists() and metrics.stat().st_size >= size):
            assert time.monotonic() < limit
            time.sleep(0.01)
        process.kill()
        process.join()
        if state.exists():
            RunFolder(state.parent).load_state()  # whole
    cli.command(arguments("cut"))
    assert lines(whole) == lines(tmp_path / "cut")
    assert same_models(whole / "best.safetensors", tmp_path / "cut" / "best.safetensors")
    assert not list((tmp_path / "cut").glob(".*"))  # no unfinished files are left


def in_one_thread(arguments):
    """The command in a forked process, which has none of its parent's other threads."""
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # a kill while it has the shared one would stop its parent
    cli.command(arguments)


def test_a_finished_run_resumes_to_nothing(arguments, finished, whole, plots):
    cli.command(arguments("run"))
    assert lines(finished) == lines(whole)


def test_a_run_is_not_overwritten(arguments, finished):
    with pytest.raises(UsageError, match="holds a run already; go on with --resume"):
        cli.command(arguments("run")[:-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": -1}, "not the state of a run"),
        ({"steps": 10**30}, "not the state of a run"),
        ({"loss": "NaN"}, "not the state of a run"),
        ({"entry": "model.nothing"}, "of another model: 1 unknown"),
        ({"entry": "momentum.nothing"}, r"of another model: 1 unknown \(nothing\); remove the folder"),
    ],
)
def test_a_state_that_makes_no_sense_is_refused(arguments, finished, change, said):
    with safe_open(finished / STATE, framework="pt") as file:
        header = json.loads(file.metadata()["tlee-state"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    tensors |= {change.pop("entry"): torch.zeros(1)} if "entry" in change else {}
    save_file(tensors, finished / STATE, {"tlee-state": json.dumps({**header, **change})})
    with pytest.raises(CheckpointError, match=said):
        cli.command(arguments("run"))


def test_two_trainings_do_not_share_a_folder(arguments, tmp_path):
    with locked_elsewhere(tmp_path / "run"), pytest.raises(UsageError, match="run: another command is writing it"):
        cli.command(arguments("run"))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_no_foreign_file_and_goes(arguments, finished, whole):
    for name in (
        ".state.safetensors.lock",
        ".best.safetensors.abcd1234.tlee-part",
        "tensorboard/events.out.tfevents.1",
    ):
        (finished / name).write_bytes(b"torn")
    with open(finished / "metrics.jsonl", "a") as stream:
        stream.write('{"event": "st')
    cli.command(arguments("run"))
    assert lines(finished) == lines(whole)
    assert not list(finished.glob(".*"))


def test_another_configuration_is_not_taken_for_the_same_run(arguments, finished):
    with pytest.raises(UsageError, match="the run has another configuration"):
        cli.command([*arguments("run"), "--set", "seed=5"])


def test_a_run_without_its_configuration_is_refused(arguments, finished):
    (finished / "config.yml").unlink()
    with pytest.raises(UsageError, match="the run has another configuration"):
        cli.command(arguments("run"))


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_damaged_state_is_refused(arguments, finished, content):
    state = finished / STATE
    state.write_bytes(state.read_bytes()[:-50] if content is None else content)
    with pytest.raises(CheckpointError, match="not the state of a run"):
        cli.command(arguments("run"))


def test_metrics_that_were_cut_short_are_noticed(arguments, finished):
    (finished / "metrics.jsonl").write_text("")
    with pytest.raises(UsageError, match="shorter than it was"):
        cli.command(arguments("run"))


def test_an_interrupted_run_keeps_its_last_state(arguments, tmp_path, monkeypatch):
    steps = []
    step = train.Trainer._step

    def interrupted(self, *rest):
        steps.append(1)
        if len(steps) == 6:
            raise KeyboardInterrupt
        return step(self, *rest)

    monkeypatch.setattr(train.Trainer, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cli.command(arguments("run"))
    progress, entries, momentum = RunFolder(tmp_path / "run").load_state()
    assert progress.steps == 4 and progress.epoch == 1  # of an epoch of four steps
    saved = load_checkpoint(tmp_path / "run" / "last.safetensors").state_dict()
    assert all(torch.equal(value, entries[name]) for name, value in saved.items()) and momentum
