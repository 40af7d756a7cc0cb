"""Checkpoints of the published code: every one whose entries are known is taken, a damaged one is refused."""

import json
import re

import pytest
import torch
from conftest import SMALL, small_model
from golden.traces import FOLDER

from tlee.errors import CheckpointError
from tlee.models.config import Config
from tlee.models.published import load_published, published_names

STATES = json.loads((FOLDER / "published_state_dicts.json").read_text())
TITLES = [title for title in STATES if title != "note"]


def config_of(title: str) -> Config:
    """From "vgg16, 3 branches, gm, mp, hmdb51, scale 1, crm 3, output_dim 512"."""
    backbone, branches, gate, frm, _, scale, crm, _ = title.split(", ")
    branches, scale, crm = (int(re.search(r"\d+", text).group()) for text in (branches, scale, crm))
    model = {"backbone": backbone, "branches": branches, "gate": gate, "frm": frm, "classes": 51}
    return Config(model={**model, "branch_scale": scale, "crm_num": crm})


def write(path, title, **changes):
    """A checkpoint with these entries; a tensor that repeats one number takes no room in the file."""
    shapes = {name: shape for name, shape in {**STATES[title], **changes}.items() if shape is not None}
    state = {name: torch.zeros(1).expand(shape) if shape else torch.tensor(0.0) for name, shape in shapes.items()}
    torch.save({"state_dict": state, "epoch": 1, "best_prec1": 1.0}, path)
    return path


@pytest.mark.parametrize("title", TITLES)
def test_every_published_checkpoint_is_taken(tmp_path, title):
    model = load_published(write(tmp_path / "a.pth.tar", title), config_of(title))
    assert not any(tensor.any() for tensor in model.state_dict().values())  # each is the file's


@pytest.mark.parametrize(
    "title",
    [
        pytest.param(title, marks=() if title.startswith("mobilenetv2") else pytest.mark.full)
        for title in TITLES
        if not title.startswith("vgg16")
    ],
)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classifiers.0.bias": None}, r"1 missing \(classifiers\.0\.bias\)"),
        ({"backbone.branches.1.crm.conv1.weight": None}, r"1 missing \(backbone\.branches\.1\.crm\.conv1\.weight\)"),
        ({"surprise": [1]}, r"1 unknown \(surprise\)"),
        ({"backbone.branches.0.alpha": [2]}, r"1 misshapen \(backbone\.branches\.0\.alpha \(2,\) not \(1,\)\)"),
    ],
)
def test_what_differs_is_listed_in_published_names(tmp_path, title, change, words):
    path = write(tmp_path / "a.pth.tar", title, **change)
    # A model without weights says as much, and sooner.
    with pytest.raises(CheckpointError, match=words) as caught, torch.device("meta"):
        load_published(path, config_of(title))
    assert "\n" not in str(caught.value)


def test_entries_that_inference_never_reads_are_checked_too(tmp_path):
    title = TITLES[1]
    with pytest.raises(CheckpointError, match=r"1 missing \(exit_selector\.0\.bn2\.running_var\)"):
        load_published(
            write(tmp_path / "a.pth.tar", title, **{"exit_selector.0.bn2.running_var": None}), config_of(title)
        )


def test_the_imagenet_classifier_that_a_backbone_was_saved_with_is_left_out(tmp_path):
    title = TITLES[1]
    load_published(write(tmp_path / "a.pth.tar", title, **{"backbone.baseModel.fc.bias": [1000]}), config_of(title))


def test_mobilenetv2_tsm_is_also_taken_under_torchvisions_names(tmp_path):
    title = next(title for title in TITLES if title.startswith("mobilenetv2"))
    config = config_of(title.replace("mobilenetv2", "mobilenetv2_tsm"))
    assert config.model.backbone == "mobilenetv2_tsm"
    load_published(write(tmp_path / "a.pth.tar", title), config)


def test_all_differences_of_a_small_mix_up_are_listed(tmp_path):
    title = next(title for title in TITLES if title.startswith("mobilenetv2"))
    config = config_of(title).model_dump()
    config["model"]["gate"] = "gm"
    with pytest.raises(CheckpointError) as caught:
        load_published(write(tmp_path / "a.pth.tar", title), Config(**config))
    missing = [f"exit_selector.0.{name}" for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")]
    unknown = [name for name in STATES[title] if name.startswith("exit_selector")]
    assert f"4 missing ({', '.join(missing)})" in str(caught.value)
    assert f"{len(unknown)} unknown ({', '.join(unknown)})" in str(caught.value)


@pytest.mark.parametrize(
    ("branch", "entries"),
    [
        ("conv", [*(f"layers.{i}.weight" for i in (0, 1, 3, 4, 6, 7)), "fc.weight", "fc.bias"]),
        ("fc", ["layers.0.weight", "layers.1.running_mean", "layers.3.bias"]),
    ],
)
def test_the_other_kinds_of_branch_are_taken_under_their_published_names(tmp_path, branch, entries):
    sizes = {**SMALL["model"], "branch": branch, "input_size": 64}
    model = small_model(model=sizes, frames={"count": 4, "resize": 64})
    state = {published_names(model)[name]: tensor for name, tensor in model.state_dict().items()}
    assert {f"backbone.branches.0.{entry}" for entry in entries} <= set(state)
    torch.save({"state_dict": state}, tmp_path / "a.pth.tar")
    loaded = load_published(tmp_path / "a.pth.tar", model.config).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in model.state_dict().items())
