"""Checkpoints, ours and published: what is kept, and what is refused."""

import json
import pickle

import pytest
import safetensors.torch
import torch
from conftest import SMALL, small_model

from tlee import cli
from tlee.errors import CheckpointError, UsageError
from tlee.export.cli import command
from tlee.models.checkpoint import HEADER, load_checkpoint, save_checkpoint
from tlee.models.config import Config, read_yaml, validated
from tlee.models.published import load_published, published_names


def published_state(model):
    """A model's weights under their published names."""
    names = published_names(model)
    return {names[name]: tensor for name, tensor in model.state_dict().items()}


def save_published(path, model, **more):
    torch.save({"state_dict": published_state(model), "epoch": 3, "best_prec1": 50.0, **more}, path)
    return path


def same_weights(a, b):
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    model = small_model(seed=1)
    save_checkpoint(tmp_path / "a.safetensors", model)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert same_weights(model, loaded) and loaded.config == model.config and not loaded.training


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_checkpoint_is_imported(tmp_path, prefix):
    model = small_model(seed=2)
    state = {prefix + name: tensor for name, tensor in published_state(model).items()}
    torch.save({"state_dict": state, "optimizer": {"lr": 0.1}, "b": 1e-6}, tmp_path / "a.pth.tar")
    assert same_weights(model, load_published(tmp_path / "a.pth.tar", model.config))


class Exploit:
    def __reduce__(self):
        return print, ("unpickled!",)


def garbage(path):
    path.write_bytes(b"not a checkpoint" * 9)


def empty(path):
    path.write_bytes(b"")


def plain_pickle(path):
    path.write_bytes(pickle.dumps({"state_dict": {}}))


def with_code(path):
    torch.save({"state_dict": published_state(small_model()), "extra": Exploit()}, path)


def without_state(path):
    torch.save({"epoch": 3}, path)


def truncated(path):
    save_published(path, small_model())
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("bad", [garbage, empty, plain_pickle, with_code, without_state, truncated])
def test_what_is_no_published_checkpoint_is_refused(tmp_path, capfd, bad):
    path = tmp_path / "a.pth.tar"
    bad(path)
    with pytest.raises(CheckpointError) as caught:
        load_published(path, Config(**SMALL))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert "unpickled!" not in capfd.readouterr().out


@pytest.mark.parametrize("bad", [garbage, empty, with_code])
def test_what_is_no_checkpoint_of_ours_is_refused(tmp_path, bad):
    path = tmp_path / "a.safetensors"
    bad(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_safetensors_of_something_else_are_refused(tmp_path):
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="without a tlee configuration"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("header", ["{}", "[]", "nonsense", '{"config": {"model": {"classes": -1}}}'])
def test_a_header_that_is_no_configuration_is_refused(tmp_path, header):
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {HEADER: header})
    with pytest.raises(CheckpointError, match="its configuration does not fit"):
        load_checkpoint(tmp_path / "a.safetensors")


def test_a_checkpoint_of_another_model_says_what_differs(tmp_path):
    path = save_published(tmp_path / "a.pth.tar", small_model())
    other = Config(**{**SMALL, "labels": [], "model": {**SMALL["model"], "branches": 3, "classes": 5}})
    with pytest.raises(CheckpointError) as caught:
        load_published(path, other)
    for words in ("5 missing (backbone.branches.2.alpha, ", "misshapen (backbone.branches.0.crm.conv0.weight ("):
        assert words in str(caught.value)


def test_an_unknown_entry_is_named(tmp_path):
    state = {**published_state(small_model()), "surprise": torch.zeros(1)}
    torch.save({"state_dict": state}, tmp_path / "a.pth.tar")
    with pytest.raises(CheckpointError, match=r"1 unknown \(surprise\)"):
        load_published(tmp_path / "a.pth.tar", Config(**SMALL))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model: {classes: 3, colour: red}", "model.colour"),
        ("model: {classes: 3, backbone: vgg99}", "backbone 'vgg99' is not known"),
        ("model: {classes: 3, backbone: resnet18, width: 0.5}", "resnet18 has no width multiplier"),
        ("model: {classes: 3}\nlabels: [a]", "1 labels for 3 classes"),
        ('model: {classes: 2}\nlabels: [a, "b\\e[2J"]', r"control characters in 'b\\x1b\[2J'"),
        ('model: {classes: 2}\nname: "a\\nb"', r"control characters in 'a\\nb'"),
        ("model: {classes: 3}\nframes: {resize: 100}", "below model.input_size"),
        ("model: [", "not readable as YAML"),
        ("", "no keys"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(tmp_path, text, problem):
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(UsageError, match=problem) as caught:
        validated(tmp_path / "a.yml", read_yaml(tmp_path / "a.yml"), Config)
    assert "\n" not in str(caught.value)


def test_saving_where_nothing_can_be_written_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        save_checkpoint(tmp_path / "none" / "a.safetensors", small_model())


def test_the_header_is_plain_json(small_checkpoint):
    with safetensors.safe_open(small_checkpoint, framework="np") as file:
        header = json.loads(file.metadata()[HEADER])
    assert header["config"]["name"] == "small" and header["config"]["labels"] == ["walk", "run", "jump"]


def test_export_of_something_else_is_one_line(tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    arguments = [str(tmp_path / "a.safetensors"), "-o", str(tmp_path / "a.tlee")]
    assert cli.run("tlee-export", command, arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith(f"tlee-export: {tmp_path}/a.safetensors: not a checkpoint")
    assert not (tmp_path / "a.tlee").exists()
