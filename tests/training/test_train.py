"""Runs: what they write, that they learn, and what ends them."""

import contextlib
import io

import pytest
import torch
import torchvision
import yaml
from conftest import SMALL, lines, same_models, small_model

from tlee import cli as commands
from tlee.errors import InputError, UsageError
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.model import Tlee
from tlee.models.published import published_names
from tlee.training import cli, videos
from tlee.training import train as trainer
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.run_folder import OWN
from tlee.training.schedule import fitting_batch, learning_rate
from tlee.training.starting_weights import initialise
from tlee.training.train import Trainer
from tlee.training.videos import read_data


def run_into(folder, content, arguments=()):
    """The command on a configuration file of this content."""
    file = folder.with_suffix(".yml")
    file.write_text(yaml.safe_dump(content))
    assert cli.command([str(file), "-o", str(folder), "--accelerator", "cpu", *arguments]) is None
    return folder


@pytest.fixture
def train(tmp_path, configuration):
    """Runs the command on a configuration with `changes`; gives the run's folder."""
    return lambda name="run", arguments=(), **changes: run_into(tmp_path / name, configuration(**changes), arguments)


@pytest.fixture(scope="module")
def of_all_stages(tmp_path_factory, configuration):
    """The folder of a run of all stages with its plots, and what the run printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        folder = run_into(tmp_path_factory.mktemp("runs") / "all", configuration())
    return folder, printed.getvalue()


def one_stage(**settings):
    return [{"stage": "backbone", "epochs": 1, "batch": 4, "learning_rate": 0.01, **settings}]


def test_a_run_leaves_all_that_its_folder_promises(of_all_stages):
    folder, printed = of_all_stages
    assert sorted(p.name for p in folder.iterdir()) == sorted(OWN)
    events = [(row["event"], row["stage"]) for row in lines(folder)]
    stages = ["frames", "backbone", "branches", "joint", "gate", "all"]
    assert events == [(event, stage) for stage in stages for event in ("step", "epoch", "stage")]
    epoch = lines(folder, "epoch")[1]
    assert set(epoch) == {"event", "step", "stage", "epoch", "loss", "val_loss", "val_accuracy", "score"}
    assert len(epoch["val_accuracy"]) == 4 and len(epoch["val_accuracy"][0]) == 3
    model = load_checkpoint(folder / "best.safetensors")
    assert model.config.labels == ["jump", "run", "walk"] and not model.training
    assert yaml.safe_load((folder / "config.yml").read_text())["stages"][0]["momentum"] == 0.9
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").glob("events*"))
    assert "tlee-export" in printed


def test_tensorboard_shows_the_same_numbers(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(stages=one_stage(epochs=3))
    board = EventAccumulator(str(folder / "tensorboard")).Reload()
    shown = [(event.step, event.value) for event in board.Scalars("epoch/loss")]
    assert shown == [(row["step"], pytest.approx(row["loss"])) for row in lines(folder, "epoch")]
    assert len(board.Scalars("epoch/val_accuracy_exit2")) == 3


def test_a_run_is_the_same_every_time_and_another_with_another_seed(of_all_stages, train, configuration):
    (first, _), again = of_all_stages, train("again")
    assert lines(first) == lines(again)
    assert same_models(first / "best.safetensors", again / "best.safetensors")
    for seed in (0, 1):  # of the first stage alone
        begun = lines(train(f"seed {seed}", seed=seed, stages=configuration()["stages"][:1]))
        assert (begun == lines(first)[: len(begun)]) == (seed == 0)


def test_training_learns(train):
    folder = train(stages=[{"stage": "joint", "epochs": 25, "batch": 9, "learning_rate": 0.01}])
    losses = [row["loss"] for row in lines(folder, "epoch")]
    assert losses[-1] < 0.7 * losses[0]


def test_the_best_epoch_is_kept_and_the_next_stage_starts_from_it(train):
    stages = [{"stage": "backbone", "epochs": 4, "batch": 4, "learning_rate": 0.05}]
    folder = train("one", stages=stages)
    scores = [row["score"] for row in lines(folder, "epoch")]
    stage = lines(folder, "stage")[0]
    assert stage["score"] == max(scores)
    first = scores.index(max(scores)) + 1
    shorter = train("two", stages=[{**stages[0], "epochs": first}])
    assert same_models(folder / "best.safetensors", shorter / "last.safetensors")
    # A second stage that hardly moves: what it ends with is what the first one's best epoch was.
    stages += [{"stage": "branches", "epochs": 1, "batch": 4, "learning_rate": 1e-12, "weight_decay": 0}]
    longer = load_checkpoint(train("three", stages=stages) / "last.safetensors").backbone.state_dict()
    best = load_checkpoint(folder / "best.safetensors").backbone.state_dict()
    assert all(torch.equal(tensor, longer[name]) for name, tensor in best.items())


def test_a_stage_ends_when_validation_gets_no_better(train, capsys):
    folder = train(stages=one_stage(epochs=9, patience=2, learning_rate=1e-12, weight_decay=0))
    assert len(lines(folder, "epoch")) == 3  # the best, and two that were no better
    assert "no better for 2 epochs, ended after 3" in capsys.readouterr().out


def test_a_step_in_parts_is_the_same_step(train):
    stages = [{"stage": "gate", "epochs": 2, "batch": 8, "learning_rate": 0.01}]  # no batch norm that sees the parts
    whole, parts = train("a", stages=stages), train("b", stages=[{**stages[0], "accumulate": 4}])
    for one, two in zip(lines(whole, "step"), lines(parts, "step"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)


def test_a_gradient_is_clipped(train):
    # Steps of at most learning rate times clip: the weights hardly move.
    stages = one_stage(learning_rate=1.0, momentum=0, weight_decay=0, clip=1e-6)
    folder = train(stages=stages)
    torch.manual_seed(0)
    start = small_model(labels=[]).state_dict()
    trained = load_checkpoint(folder / "last.safetensors")
    moved = max(float((p.detach() - start[name]).abs().max()) for name, p in trained.named_parameters())
    assert 0 < moved < 1e-4


def test_frames_are_kept_where_they_fit_which_changes_no_number(train, folders, monkeypatch, capsys):
    data = {"train": str(folders / "train"), "val": str(folders / "val"), "augment": {"crop": [0.5, 1], "flip": True}}
    kept = train("kept", data=data, stages=one_stage())
    assert "videos are kept in memory: 0 MB" in capsys.readouterr().out
    monkeypatch.setattr(videos, "frame_memory", lambda: 0)
    decoded = train("decoded", data={**data, "workers": 0}, stages=one_stage())
    assert "kept in memory" not in capsys.readouterr().out
    assert lines(kept) == lines(decoded) and same_models(kept / "last.safetensors", decoded / "last.safetensors")


def test_features_of_frozen_parts_are_computed_once_and_the_gate_learns_the_same(train, monkeypatch):
    stages = [{"stage": "gate", "epochs": 6, "batch": 4, "learning_rate": 0.05}]
    computed, features = [], Tlee.features
    monkeypatch.setattr(Tlee, "features", lambda self, *given: computed.append(1) or features(self, *given))
    once = train("once", stages=stages)
    # In a batch each: four versions of the training videos, the validation videos, and one frame of these at the end.
    assert len(computed) == 4 + 1 + 1
    monkeypatch.setattr(trainer, "frame_memory", lambda: 0)
    anew = train("anew", stages=stages)
    assert len(computed) == 6 + 6 * (2 + 1) + 1
    for one, other in zip(lines(once, "epoch"), lines(anew, "epoch"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["val_loss"] == pytest.approx(one["val_loss"], rel=1e-4)


def test_mixed_precision_trains(train):
    full, half = train("a", stages=one_stage()), train("b", stages=one_stage(), precision="bf16-mixed")
    losses = [lines(folder, "epoch")[0]["loss"] for folder in (full, half)]
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.05)
    entries = load_checkpoint(half / "best.safetensors").state_dict()
    assert {t.dtype for t in entries.values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.1, 0.1, 0.1]),
        ({"schedule": [1, 3]}, [0.1, 0.01, 0.01, 0.001]),
        ({"schedule": "cosine"}, [0.1, 0.0853553, 0.05, 0.0146447]),
        ({"warmup": 2}, [0.025, 0.075, 0.1, 0.1]),
    ],
)
def test_the_learning_rate_follows_its_schedule(settings, expected):
    config = StageConfig(stage="backbone", epochs=4, learning_rate=0.1, **settings)
    assert [learning_rate(config, epoch, 0, 2) for epoch in range(4)] == pytest.approx(expected, rel=1e-5)


def test_a_damaged_clip_is_reported_once_and_counted(train, folders, tmp_path, capsys):
    data = {"train": str(tmp_path / "clips"), "val": str(folders / "val")}
    for clip in folders.glob("train/*/*.mp4"):
        (tmp_path / "clips" / clip.parent.name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / clip.parent.name / clip.name).write_bytes(clip.read_bytes())
    (tmp_path / "clips" / "run" / "bad.mp4").write_bytes(b"no video")
    train(data={**data, "workers": 1}, stages=one_stage(epochs=3, batch=5))
    out, error = capsys.readouterr()
    assert error.count("bad.mp4") == 1 and "not a video that can be decoded" in error
    assert "1 of 10 train videos could not be read" in out
    with pytest.raises(InputError, match="bad.mp4"):
        train("strict", data={**data, "unreadable": "fail"}, stages=one_stage(epochs=3, batch=5))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_set_of_which_nothing_can_be_read_ends_the_run(train, folders, tmp_path, split):
    for label in ("jump", "run", "walk"):
        (tmp_path / "damaged" / label).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "damaged" / label / f"{i}.mp4").write_bytes(b"no video")
    data = {"train": str(folders / "train"), "val": str(folders / "val"), split: str(tmp_path / "damaged")}
    with pytest.raises(UsageError, match=f"{split} videos: none of 6 can be read"):
        train(data=data, stages=one_stage())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"data": {"train": "nowhere", "val": "nowhere"}}, "nowhere"),
        ({"model": {**SMALL["model"], "classes": 7}}, "3 classes, the model has 7"),
        ({"stages": []}, "stages"),
        ({"stages": [{"stage": "gates", "epochs": 1}]}, "stages.0.stage"),
        ({"stages": [{"stage": "gate", "epochs": 1}] * 2}, "named twice"),
        ({"stages": one_stage(distill=0.5)}, "distill, but stage backbone trains no branch"),
        ({"stages": one_stage(batch=6, accumulate=4)}, "a batch of 6 cannot be shared by 4 parts"),
        ({"stages": one_stage(warmup=2)}, "warmup 2 is longer than 1 epochs"),
        ({"model": {**SMALL["model"], "gate": "random"}}, "the gate 'random' has nothing to learn"),
        (
            {
                "model": {**SMALL["model"], "heads": "per_frame", "gate": "eg"},
                "stages": [{"stage": "frames", "epochs": 1}],
            },
            "of heads per_frame single frames teach only the first classifier",
        ),
        ({"model": {**SMALL["model"], "heads": "per_frame"}}, "gate gm, but heads per_frame has FrameExit's gates"),
        ({"frames": {"count": 2, "resize": 36}}, "of 2 frames none is between the first and the last"),
        ({"data": {"train": "a", "format": "ucf102"}}, "format 'ucf102' is not known; choose of folders, ucf101"),
        ({"data": {"train": "a", "augment": {"crop": [0.9, 0.5]}}}, r"crop \[0.9, 0.5\] does not rise"),
        ({"surprise": 1}, "surprise"),
        ({"init": "none.safetensors"}, "none.safetensors: No such file"),
        ({"model": {**SMALL["model"], "cuts": [9, 9]}}, r"run.yml: mobilenetv2 cannot be cut at \[9, 9\]"),
    ],
)
def test_a_run_that_cannot_be_is_refused(train, change, problem):
    with pytest.raises(Exception, match=problem) as caught:
        train(**change)
    assert isinstance(caught.value, commands.TleeError)


def test_videos_that_are_trained_on_do_not_validate(train, folders):
    with pytest.raises(UsageError, match="9 of its videos are also trained on"):
        train(data={"train": str(folders / "train"), "val": str(folders / "train")})


def clips_of_two_days(folder):
    """Empty files, `CLASS/DAY-NUMBER.mp4`: nothing is decoded where only lists are read."""
    for name in (f"{label}/{day}-{i}.mp4" for label in ("jump", "run", "walk") for day in "ab" for i in range(3)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_recordings_that_are_named_are_held_out_whole(configuration, tmp_path):
    data = {"train": str(clips_of_two_days(tmp_path)), "val": 0.4, "group": "/([ab])-"}
    train, val = read_data(TrainingConfig(**configuration(data=data)))
    assert len({entry.path.name[0] for entry in val.entries}) == 1 and len(val.entries) == len(train.entries) == 9
    assert train.notes == ["1 of 2 recordings are held out, 50% of the clips; recordings are as data.group says"]


def test_recordings_that_are_trained_on_do_not_validate(configuration, tmp_path):
    days = [str(clips_of_two_days(tmp_path / name)) for name in ("train", "val")]
    data = {"train": days[0], "val": days[1]}
    read_data(TrainingConfig(**configuration(data=data)))
    with pytest.raises(
        UsageError, match=r"val: 2 of its recordings are also trained on \(first: a\); validate on others"
    ):
        read_data(TrainingConfig(**configuration(data={**data, "group": "/([ab])-"})))


def test_a_folder_that_cannot_be_written_is_known_before_training(train, tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        train()


def test_a_folder_with_other_things_is_left_alone(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files .thesis.txt."):
        train()
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_loss_that_explodes_stops_the_run(train):
    with pytest.raises(UsageError, match="stage backbone: the loss is no longer a number.*lower its learning_rate"):
        train(stages=one_stage(epochs=5, learning_rate=1e30))


def test_a_gpu_whose_memory_is_full_is_no_traceback(train, monkeypatch):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "run", full)
    with pytest.raises(UsageError, match="run: the GPU's memory is not enough for these stages; take fewer videos"):
        train()


@pytest.mark.parametrize(
    ("batch", "accumulate", "videos", "world", "fits"),
    [(16, 1, 100, 1, 16), (16, 2, 100, 4, 16), (16, 1, 9, 1, 9), (16, 2, 9, 2, 8), (16, 1, 7, 4, None)],
)
def test_a_batch_is_shared_among_processes(batch, accumulate, videos, world, fits):
    config = StageConfig(stage="joint", epochs=1, batch=batch, accumulate=accumulate)
    if fits:
        assert fitting_batch(config, videos, world) == fits
    else:
        with pytest.raises(UsageError, match="too few"):
            fitting_batch(config, videos, world)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(UsageError, match="a batch of 16 cannot be shared by 3 processes"):
        fitting_batch(StageConfig(stage="joint", epochs=1), 100, 3)


def test_training_starts_from_imagenet_weights_where_told(train, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    weights = torchvision.models.mobilenet_v2().state_dict()
    file = torchvision.models.MobileNet_V2_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(weights, tmp_path / "checkpoints" / file)
    stages = [{"stage": "branches", "epochs": 1, "batch": 4}]  # leaves the backbone as it is
    folder = train(init="imagenet", model={**SMALL["model"], "width": 1.0}, stages=stages)
    trained = load_checkpoint(folder / "last.safetensors").backbone.features.state_dict()
    assert all(torch.equal(tensor, weights[f"features.{name}"]) for name, tensor in trained.items())


def test_training_starts_from_what_fits_of_a_checkpoint(train, tmp_path, capsys):
    other = small_model(seed=7, model={**SMALL["model"], "classes": 5}, labels=[])
    save_checkpoint(tmp_path / "other.safetensors", other)
    stages = [{"stage": "gate", "epochs": 1, "batch": 4}]
    folder = train(init=str(tmp_path / "other.safetensors"), stages=stages)
    trained = load_checkpoint(folder / "last.safetensors").state_dict()
    taken = [name for name, value in other.state_dict().items() if torch.equal(value, trained[name])]
    assert {name.split(".")[0] for name in taken} >= {"backbone", "branches"}
    assert not [name for name in taken if name.startswith("classifier")]
    count, total = len(trained) - 2, len(trained)
    assert f"{count} of the model's {total} entries" in capsys.readouterr().out


def test_a_backbone_with_temporal_shift_is_trained_on_clips_in_order(train):
    model = {**SMALL["model"], "backbone": "mobilenetv2_tsm"}
    trained = load_checkpoint(train(model=model, stages=one_stage()) / "best.safetensors")
    assert trained.config.model.shifts and trained.config.frame_spec().order == [0, 1, 2, 3]


def test_a_folder_of_clips_is_all_that_is_needed(folders, tmp_path, capsys):
    run = tmp_path / "run"
    settings = ["init=random", "model.width=0.35", "model.input_size=32", "frames={count: 4, resize: 32}"]
    settings += ["stages=[{stage: joint, epochs: 1, batch: 4}]"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    cli.command([str(folders / "train"), "-o", str(run), "--accelerator", "cpu", *arguments])
    config = load_checkpoint(run / "best.safetensors").config
    assert config.labels == ["jump", "run", "walk"] and config.model.input_size == 32 and config.name == "train"


@pytest.mark.parametrize("change", ["model.width", "model.width.x=1", "frames=[", "=1"])
def test_a_setting_that_is_none_is_refused(train, change):
    with pytest.raises(UsageError, match="--set|run.yml"):
        train(arguments=["--set", change])


def test_a_model_with_branches_starts_from_a_published_one_without_them(tmp_path):
    parts = {**SMALL["model"], "neck": 24}
    frameexit = small_model(seed=7, model={**parts, "branches": 0, "heads": "per_frame", "gate": "eg"})
    names = published_names(frameexit, project="FrameExit")
    state = {f"module.{names[name]}": value for name, value in frameexit.state_dict().items()}
    torch.save(state, tmp_path / "frameexit.pth")  # as FrameExit's are: no dictionary around it
    model = small_model(model=parts)
    said = initialise(model, str(tmp_path / "frameexit.pth"))
    for own, theirs in [(model.backbone.features, frameexit.backbone.features), (model.neck, frameexit.neck)]:
        assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in own.state_dict().items())
    assert torch.equal(model.classifier.weight, frameexit.classifier[0].weight)
    fitting = sum(name.split(".")[0] in ("backbone", "neck", "classifier") for name in model.state_dict())
    assert f"{fitting} of the model's {len(model.state_dict())} entries" in said
