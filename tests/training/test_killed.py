"""A training, killed at random moments, goes on and ends as one that nobody disturbed. Longer: TLEE_KILLS=60."""

import shutil

import pytest
import yaml
from conftest import lines, same_models
from helpers.kills import command, run, sweep

from tlee.models.checkpoint import load_checkpoint
from tlee.training.run_folder import ACCURACY_PLOT, STATE, RunFolder

STAGES = [{"stage": stage, "epochs": 1, "batch": 4, "learning_rate": 0.01} for stage in ("frames", "joint")]


@pytest.mark.full
def test_trainings(configuration, tmp_path):
    data = {**configuration()["data"], "cache": False, "workers": 1}
    (tmp_path / "run.yml").write_text(yaml.safe_dump(configuration(data=data, stages=STAGES, save_steps=1)))
    place, undisturbed = tmp_path / "place", tmp_path / "undisturbed"
    arguments = ("tlee-train", tmp_path / "run.yml", "--accelerator", "cpu", "-o")
    assert run(command(*arguments, undisturbed)).status == 0
    folder = place / "run"
    place.mkdir()

    def begin():
        if (folder / ACCURACY_PLOT).exists():  # done: again from the start
            shutil.rmtree(folder)

    def sound():
        if (folder / STATE).exists():
            assert RunFolder(folder).load_state()
        for name in ("best.safetensors", "last.safetensors"):
            if (folder / name).exists():
                load_checkpoint(folder / name)

    sweep(command(*arguments, folder, "--resume"), 3, sound, [place, folder], begin)
    assert lines(folder) == lines(undisturbed)
    assert same_models(folder / "best.safetensors", undisturbed / "best.safetensors")
