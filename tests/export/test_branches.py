"""A branch can be left out of a bundle: the rest computes what it did in the whole model."""

import numpy as np
import pytest
import torch
from conftest import enliven, small_model

from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.export import cli
from tlee.export.exporter import export_bundle, with_branches
from tlee.inference import exit_steps
from tlee.models.checkpoint import save_checkpoint
from tlee.models.model import TorchStages
from tlee.policy import ExitPolicy, Thresholds

THREE = {"width": 0.35, "input_size": 32, "branches": 3, "crm_num": 1, "classes": 3}
PER_EXIT = {"first": [0.1, 0.2, 0.3, 0.4], "layer": 0.7, "gate": [0.5, 0.6, 0.7, 0.8]}


class Without(ExitPolicy):
    """Evaluates some exits of the whole model, all of them in every frame."""

    def __init__(self, exits):
        super().__init__(4, Thresholds.never(4), frame_exit=False)
        self.open = exits

    def evaluates(self, exit):
        return exit in self.open


@pytest.fixture(scope="module")
def model():
    return enliven(small_model(model=THREE, exits=PER_EXIT))


@pytest.mark.parametrize("kept", [[1], pytest.param([0, 2], marks=pytest.mark.full), [], [0, 1, 2]])
def test_the_exits_that_stay_answer_as_in_the_whole_model(model, kept):
    clip = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    exits, part = [*kept, 3], with_branches(model, kept)
    wanted = list(exit_steps(TorchStages(model), clip[:3], Without(exits)))
    never = ExitPolicy(4, Thresholds.never(len(exits)), frame_exit=False)
    found = list(exit_steps(TorchStages(part), clip[:3], never))
    assert [(s.frame, exits[s.exit]) for s in found] == [(s.frame, s.exit) for s in wanted]
    assert all(torch.allclose(a.values.logits, b.values.logits, atol=1e-5) for a, b in zip(found, wanted))


def test_a_bundle_without_a_branch_costs_less_and_is_verified(model, tmp_path, small_checkpoint):
    bundle = export_bundle(with_branches(model, [1]), tmp_path / "part.tlee", small_checkpoint, branches=[1])
    assert bundle.manifest["provenance"]["branches"] == [1]
    assert bundle.manifest["verification"]["steps"] > 0 and bundle.exits == 2
    assert {"split0", "split1", "branch0"} < set(bundle.segments) and "split2" not in bundle.segments
    rule = bundle.thresholds()
    assert (rule.first, rule.layer, rule.gate) == ([0.2, 0.4], [0.7, 0.7], [0.6, 0.8])
    assert model.exits == 4 and model.config.model.cuts is None


@pytest.fixture
def checkpoint(model, tmp_path):
    save_checkpoint(tmp_path / "three.safetensors", model)
    return str(tmp_path / "three.safetensors")


def test_the_command_keeps_the_branches_that_are_named(checkpoint, tmp_path, capsys):
    path = str(tmp_path / "part.tlee")
    cli.command([checkpoint, "--branches", "1", "--no-verify", "-o", path])
    assert Bundle.open(path).exits == 2


@pytest.mark.parametrize("text", ["3", "-1", "1,1", "2,1", "", "one", "0,,1", "0.5"])
def test_branches_that_are_none_are_one_line(checkpoint, tmp_path, text):
    with pytest.raises(UsageError, match="^branches: ") as error:
        cli.command([checkpoint, f"--branches={text}", "--no-verify", "-o", str(tmp_path / "a.tlee")])
    assert "\n" not in str(error.value) and not (tmp_path / "a.tlee").exists()


def test_a_model_without_branches_has_none_to_choose_of():
    with pytest.raises(UsageError, match="the model has no branch"):
        with_branches(small_model(model={**THREE, "branches": 0}), [0])
