"""The published configuration files, as they are: what they say becomes a training of ours, and all commands take
them."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, enliven, lines

from tlee import cli as commands
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.evaluation import cli as eval_cli
from tlee.export import cli as export_cli
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.config import PUBLISHED_MEAN, Config
from tlee.models.model import Tlee
from tlee.models.published import published_names
from tlee.models.published_config import IMAGENET_MEAN, TRAINING_KEYS, load_model_config
from tlee.runtime import cli as run_cli
from tlee.training import cli, convert
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.schedule import learning_rate
from tlee.training.starting_weights import best_checkpoint

FILES = json.loads((ROOT / "tests" / "golden" / "published_configs.json").read_text())
ORDER = [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
# Network, branches, branch_scale, neck, classes, first and layer threshold, mean, start, seed.
MODELS = {
    "cloud_hmdb51_efficientnetb3_branch.yml": ("efficientnet_b3", 2, 3, None, 51, 0.99, 1.0, PUBLISHED_MEAN, 2),
    "cloud_hmdb51_mobilenetv2_branch.yml": ("mobilenetv2", 0, 3, None, 51, 0.99, 0.5, PUBLISHED_MEAN, 2),
    "cloud_hmdb51_resnet50_branch.yml": ("resnet50", 0, 3, None, 51, 0.99, 0.3, PUBLISHED_MEAN, 2),
    "cloud_hmdb51_vgg16_branch.yml": ("vgg16", 2, 3, None, 51, 0.99, 1.0, PUBLISHED_MEAN, 2),
    "cloud_ssv2_branch.yml": ("resnet50", 2, 2, None, 174, 0.99, 0.9, PUBLISHED_MEAN, 0),
    "cloud_ucf101_branch.yml": ("resnet50", 2, 3, 4096, 101, 0.99, 0.9, PUBLISHED_MEAN, 0),
    "cloud_ucf101_efficientnetb3_branch.yml": ("efficientnet_b3", 2, 1, 4096, 101, 0.99, 0.8, PUBLISHED_MEAN, 2),
    "cloud_ucf101_mobilenetv2_branch.yml": ("mobilenetv2", 0, 1, 4096, 101, 0.99, 1.0, PUBLISHED_MEAN, 2),
    "cloud_ucf101_resnet50_branch.yml": ("resnet50", 2, 3, 4096, 101, 0.99, 0.8, PUBLISHED_MEAN, 2),
    "cloud_ucf101_vgg16_branch.yml": ("vgg16", 0, 1, 4096, 101, 0.99, 0.4, PUBLISHED_MEAN, 2),
    "ucf101.yml": ("resnet50", 0, 1, 4096, 101, 0.95, 0.9, IMAGENET_MEAN, 0),
    "ucf101_branch.yml": ("resnet50", 0, 1, 4096, 101, 0.99, 0.9, IMAGENET_MEAN, 0),
    "ucf101_train.yml": ("resnet50", 0, 1, 4096, 101, 0.99, 0.9, IMAGENET_MEAN, 0),
}
# Epochs of each stage, schedule, b.
STAGES = {
    "cloud_hmdb51_efficientnetb3_branch.yml": ({"backbone": 10, "branches": 20, "gate": 3}, [10, 20], 0.2),
    "cloud_hmdb51_mobilenetv2_branch.yml": ({"backbone": 25}, [10, 20], None),
    "cloud_hmdb51_resnet50_branch.yml": ({"backbone": 25, "gate": 3}, [10, 15], 0.01),
    "cloud_hmdb51_vgg16_branch.yml": ({"backbone": 25, "branches": 50, "gate": 3}, [10, 20], 0.001),
    "cloud_ssv2_branch.yml": ({"backbone": 5, "branches": 10}, [], None),
    "cloud_ucf101_branch.yml": ({"backbone": 5, "branches": 10, "gate": 3}, [16, 30], 0.001),
    "cloud_ucf101_efficientnetb3_branch.yml": ({"backbone": 25, "branches": 50, "gate": 3}, [10, 10], 0.01),
    "cloud_ucf101_mobilenetv2_branch.yml": ({"backbone": 25}, [10, 20], None),
    "cloud_ucf101_resnet50_branch.yml": ({"backbone": 25, "branches": 50, "gate": 3}, [10, 15], 0.005),
    "cloud_ucf101_vgg16_branch.yml": ({"backbone": 10, "gate": 3}, [10, 20], 0.001),
    "ucf101.yml": ({"backbone": 25, "gate": 3}, [], 0.05),
    "ucf101_branch.yml": ({"gate": 3}, [], 0.002),
    "ucf101_train.yml": ({"backbone": 20, "gate": 3}, [], 0.002),
}
FRAMEEXIT = [name for name, content in FILES.items() if content["model"].get("name") == "adaptive"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Where the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path, name: str, **changes) -> str:
    """A published file, with sections replaced."""
    (folder / name).write_text(yaml.safe_dump({**FILES[name], **changes}))
    return name


def test_these_are_all_files():
    assert set(MODELS) == set(STAGES) == set(FILES) and len(FILES) == 13 and len(FRAMEEXIT) == 3


@pytest.mark.parametrize("name", FILES)
def test_a_file_describes_its_model(here, name):
    config, warnings = load_model_config(written(here, name))
    model, exits = config.model, config.exits
    facts = (model.backbone, model.branches, model.branch_scale, model.neck, model.classes, exits.first, exits.layer)
    assert (*facts, config.frames.mean) == MODELS[name][:-1]
    assert (model.frm, model.input_size, config.labels) == ("max", 224, [])
    assert (model.heads, model.gate) == (("per_frame", "eg") if name in FRAMEEXIT else ("shared", "gm"))
    spec = config.frame_spec()
    assert (spec.length, spec.order, spec.resize, spec.sampling, spec.interpolation) == (
        *(10, ORDER, 224),
        *("published", "bilinear"),
    )
    assert [line.split(":")[0] for line in warnings] == (
        ["the branches of branch.resnet50.3 are not read"] if name == "ucf101_branch.yml" else []
    )


@pytest.mark.parametrize("name", FILES)
def test_a_file_describes_its_training(here, name):
    config = cli.load(written(here, name), [])
    epochs, schedule, knob = STAGES[name]
    assert {stage.stage: stage.epochs for stage in config.stages} == epochs
    batches = {"backbone": 8, "branches": 8, "gate": 256}
    for stage in config.stages:
        assert (stage.batch, stage.schedule) == (batches[stage.stage], schedule)
        assert (stage.learning_rate, stage.momentum, stage.weight_decay) == (1e-3, 0.9, 5e-4)
        assert stage.stage != "gate" or stage.b_knob == knob
        assert stage.freeze_backbone == (name == "ucf101.yml" and stage.stage == "backbone")
    assert (config.seed, config.init) == (
        MODELS[name][-1],
        "run-folder" if name == "ucf101_branch.yml" else "imagenet",
    )
    data, given = config.data, FILES[name]["data"]
    assert (data.format, data.train, data.root) == (given["name"], given["path_split"], given["path_frame"])
    val = FILES[name].get("data_val", {}).get("path_split", 0.2)
    assert (data.val, data.val_root, data.labels) == (val, None, None)
    assert (data.augment.jitter, data.augment.flip, data.augment.crop) == (False, False, None)


@pytest.mark.parametrize("name", FILES)
def test_the_converted_file_is_the_same_training_and_the_same_model(here, name, capsys):
    convert.command([written(here, name), "-o", "own.yml"])
    assert cli.load("own.yml", []) == cli.load(name, [])
    assert load_model_config("own.yml")[0] == load_model_config(name)[0]
    shown = capsys.readouterr()
    trains = FILES[name].get("train_mode", "test") != "test"
    assert ("the published code trains nothing" in shown.out) == (not trains)
    assert ("warning" in shown.err) == (name == "ucf101_branch.yml")


def test_a_file_without_a_list_is_converted_to_its_model(here, capsys):
    (here / "a.yml").write_text("data: {name: hmdb51, batch: 8}\nmodel: {backbone: resnet18, branch_num: 2}")
    convert.command(["a.yml", "-o", "own.yml"])
    assert load_model_config("own.yml")[0] == load_model_config("a.yml")[0]
    shown = capsys.readouterr()
    assert "no data.path_split: written without data and stages" in shown.out
    assert shown.err == "tlee-convert: a.yml: warning: not known and left out: data.batch\n"
    with pytest.raises(UsageError, match="a.yml: data.train: Field required"):
        cli.load("a.yml", [])


def test_a_file_of_ours_is_not_converted(here):
    Path("own.yml").write_text("model: {backbone: resnet18, branches: 2, classes: 3}")
    with pytest.raises(UsageError, match="not a configuration of the published code; use it as it is"):
        convert.command(["own.yml", "-o", "x.yml"])
    assert not Path("x.yml").exists()


def test_the_keys_of_a_training_are_known():
    assert set(TrainingConfig.model_fields) - set(Config.model_fields) == TRAINING_KEYS


@pytest.mark.parametrize(
    ("changes", "stages", "init"),
    [
        ({"train_mode": 1}, ["joint"], "imagenet"),
        ({"train_mode": "1.1"}, ["backbone", "branches"], "imagenet"),
        ({"train_mode": 2}, ["gate"], "run-folder"),
        ({"train_mode": 1, "checkpoint": {"init": "start.safetensors"}}, ["joint"], "start.safetensors"),
        ({"train_mode": 1, "resume": True, "resume_path": "old.pth.tar"}, ["joint"], "old.pth.tar"),
        ({"train_mode": 1, "resume": False, "resume_path": "old.pth.tar"}, ["joint"], "imagenet"),
    ],
)
def test_the_mode_says_what_is_trained_and_from_where(here, changes, stages, init):
    config = cli.load(written(here, "cloud_hmdb51_vgg16_branch.yml", **changes), [])
    assert ([stage.stage for stage in config.stages], config.init) == (stages, init)


def test_without_pretrained_weights_training_starts_from_random_ones(here):
    content = copy.deepcopy(FILES["cloud_hmdb51_resnet50_branch.yml"]["model"])
    content["backbone"]["pretrained"] = False
    assert cli.load(written(here, "cloud_hmdb51_resnet50_branch.yml", model=content), []).init == "random"


def test_single_values_are_changed_in_our_keys(here):
    name = written(here, "cloud_hmdb51_vgg16_branch.yml")
    config = cli.load(name, ["data.root=null", "data.train=mine.txt", "stages.1.epochs=7", "exits.layer=0.6"])
    assert (config.data.root, config.data.train, config.stages[1].epochs, config.exits.layer) == (
        *(None, "mine.txt"),
        *(7, 0.6),
    )
    with pytest.raises(UsageError, match="--set stages.9.epochs=1: cannot be set"):
        cli.load(name, ["stages.9.epochs=1"])


def test_a_schedule_may_name_an_epoch_twice():
    stage = StageConfig(stage="backbone", epochs=12, learning_rate=1.0, schedule=[10, 10])
    assert [round(learning_rate(stage, epoch, 0, 5), 6) for epoch in (9, 10)] == [1.0, 0.01]


def test_a_validation_set_may_lie_elsewhere(here):
    content = copy.deepcopy(FILES["cloud_hmdb51_vgg16_branch.yml"]["data_val"])
    name = written(here, "cloud_hmdb51_vgg16_branch.yml", data_val={**content, "path_frame": "elsewhere"})
    assert cli.load(name, []).data.val_root == "elsewhere"


def test_a_folder_gives_its_best_checkpoint(here):
    folder = here / "run-folder"
    folder.mkdir()
    with pytest.raises(UsageError, match="no checkpoint to start from; put best.safetensors or a .*--set init=FILE"):
        best_checkpoint(folder)
    (folder / "checkpoint.pth.tar").touch()
    assert best_checkpoint(folder).name == "checkpoint.pth.tar"
    (folder / "another.pth.tar").touch()
    with pytest.raises(UsageError, match="2 checkpoints to start from"):
        best_checkpoint(folder)
    (folder / "model_best.pth.tar").touch()
    assert best_checkpoint(folder).name == "model_best.pth.tar"
    (folder / "best.safetensors").touch()
    assert best_checkpoint(folder).name == "best.safetensors"


def video(folder: Path, pattern: str, grey: int, frames: int = 12) -> None:
    folder.mkdir(parents=True)
    for t in range(frames):
        picture = np.full((72, 96, 3), grey, np.uint8)
        picture[:, 6 * t : 6 * t + 8] = 255 - grey
        cv2.imwrite(str(folder / pattern.format(t + 1)), picture)


def videos(content: dict) -> None:
    """Videos where the file says they are: four to train with, two to validate."""
    pattern = "{:06}.jpg" if content["data"]["name"] == "ssv2" else "img_{:05}.jpg"
    for section, count in (("data", 4), ("data_val", 2)):
        if section not in content:
            continue
        rows = []
        for i in range(count):
            name = f"{section}_{i}"
            video(Path(content[section]["path_frame"]) / name, pattern, 40 * i + 20)
            rows.append(f"{name} 12 {i % 2}\n")
        listed = Path(content[section]["path_split"])
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text("".join(rows))


def published_checkpoint(config: Config, path: Path) -> None:
    torch.manual_seed(0)
    model = enliven(Tlee(config))
    names = published_names(model)
    state = {names[name]: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1, "best_prec1": 1.0}, path)


def succeeds(command, *arguments):
    assert not commands.run("tlee", command, [str(argument) for argument in arguments])


def through_all_commands(name: str, *exporting: str) -> None:
    """Two steps of every stage, then the published checkpoint's evaluation, export and run."""
    content = yaml.safe_load(Path(name).read_text())
    videos(content)
    config, stages = load_model_config(name)[0], cli.load(name, []).stages
    changes = ["init=random", "data.workers=0"]
    changes += [f"stages.{i}.{key}" for i in range(len(stages)) for key in ("epochs=1", "batch=2")]
    sets = [argument for change in changes for argument in ("--set", change)]
    succeeds(cli.command, name, "-o", "run", "--accelerator", "cpu", *sets)
    steps = [row["step"] for row in lines(Path("run"), "epoch")]
    each = 2 if "data_val" in content else 1  # else some of the four are held out
    assert steps == [each * (i + 1) for i in range(len(stages))]
    assert load_checkpoint("run/best.safetensors").config.model == config.model

    published_checkpoint(config, Path("model_best.pth.tar"))
    succeeds(eval_cli.command, "model_best.pth.tar", "--config", name, "-o", "report", "--workers", 0)
    report = json.loads(Path("report/report.json").read_text())
    assert (report["data"]["source"], report["data"]["format"]) == (
        content.get("data_val", content["data"])["path_split"],
        content["data"]["name"],
    )
    succeeds(export_cli.command, "model_best.pth.tar", "--config", name, "-o", "a.tlee", *exporting)
    bundle = Bundle.open("a.tlee")
    assert bundle.frames == config.frame_spec() and bundle.frames.order == ORDER
    assert bundle.thresholds() == config.thresholds()
    clip = Path(content["data"]["path_frame"]) / "data_0"
    succeeds(run_cli.command, "a.tlee", clip, "--json", "out.jsonl", "--threads", 1)
    answer = json.loads(Path("out.jsonl").read_text())
    assert answer["label"].startswith("class ") and answer["exit_frame"] < 10


def small(name: str) -> dict:
    """A file with little pictures."""
    content = copy.deepcopy(FILES[name])
    for section in ("data", "data_val"):
        content[section]["preprocessing"].update(resize=36, crop_center=32)
    return content


@pytest.mark.full  # as files of FrameExit's form, and every command in tests/test_no_branches.py
def test_a_file_without_branches_goes_through_all_commands(here, undrawn):
    name = "cloud_ucf101_mobilenetv2_branch.yml"
    Path(name).write_text(yaml.safe_dump(small(name)))
    through_all_commands(name, "--no-verify")


def test_a_file_with_branches_goes_through_all_commands(here, undrawn):
    content = small("cloud_ssv2_branch.yml")
    # A smaller network of the same family.
    content["model"]["backbone"].update(name="branch.resnet18.2", output_dim=[512])
    Path("ssv2.yml").write_text(yaml.safe_dump({**content, "train_mode": "test"}))
    through_all_commands("ssv2.yml", "--no-verify")


def test_the_gate_is_trained_from_the_best_checkpoint_of_the_folder(here):
    name = "cloud_ucf101_mobilenetv2_branch.yml"
    Path(name).write_text(yaml.safe_dump({**small(name), "train_mode": 2}))
    videos(small(name))
    Path("run-folder").mkdir()
    published_checkpoint(load_model_config(name)[0], Path("run-folder/model_best.pth.tar"))
    succeeds(cli.command, name, "-o", "run", "--accelerator", "cpu", "--set", "stages.0.epochs=1")
    assert [row["stage"] for row in lines(Path("run"), "epoch")] == ["gate"]


def test_a_frozen_backbone_stays(here):
    name = "cloud_hmdb51_mobilenetv2_branch.yml"
    content = small(name)
    content["model"]["backbone"]["requires_grad"] = False
    Path(name).write_text(yaml.safe_dump(content))
    videos(content)
    torch.manual_seed(0)
    start = Tlee(load_model_config(name)[0])
    save_checkpoint("start.safetensors", start)
    sets = ("--set", "init=start.safetensors", "--set", "stages.0.epochs=1", "--set", "stages.0.batch=2")
    succeeds(cli.command, name, "-o", "run", "--accelerator", "cpu", *sets)
    trained = load_checkpoint("run/best.safetensors")
    for key, tensor in start.state_dict().items():
        assert torch.equal(tensor, trained.state_dict()[key]) == (not key.startswith("classifier")), key


def test_without_videos_tlee_eval_says_where_they_may_be_named(here, capsys):
    Path("a.yml").write_text("data: {name: hmdb51}\nmodel: {backbone: resnet18, branch_num: 2}")
    for arguments in (["--config", "a.yml"], []):
        assert commands.run("tlee-eval", eval_cli.command, ["x.pth.tar", *arguments]) == 2
        assert "--data: no videos to evaluate with; give a list" in capsys.readouterr().err


def test_a_file_of_frameexits_form_goes_through_all_commands(here, undrawn):
    content = small("ucf101_train.yml")
    content["model"]["backbone"].update(name="torchvision.resnet18", output_dim=512)
    Path("train.yml").write_text(yaml.safe_dump(content))
    through_all_commands("train.yml", "--no-verify")


@pytest.mark.full
@pytest.mark.parametrize("name", FILES)
def test_every_file_goes_through_all_commands_as_it_is(here, name):
    through_all_commands(written(here, name))
