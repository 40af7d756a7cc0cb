"""Training: the stages train what they say, on what they say, and the same way every time."""

import math

import pytest
import torch
import torchvision
import yaml
from conftest import SMALL, small_model, write_clip
from torch.nn import functional

from tlee.errors import InputError, UsageError
from tlee.models.checkpoint import load_checkpoint
from tlee.models.config import load_config
from tlee.training import cli
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.data import ClassFolders, loader
from tlee.training.stages import STAGES, exits
from tlee.training.train import train, train_stage

ALL = [0, 1, 2]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three classes that differ in their background, a few clips each."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 3), ("val", 2)):
        for label, grey in (("jump", 30), ("run", 110), ("walk", 180)):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                write_clip(root / split / label / f"{i}.mp4", frames=4 + 5 * i, grey=grey)
    return root


def configuration(folders, **changes):
    stages = [{"stage": s, "epochs": 1, "batch": 4, "learning_rate": 0.01} for s in STAGES]
    data = {"train": str(folders / "train"), "val": str(folders / "val")}
    return {**SMALL, "labels": [], "data": data, "stages": stages, **changes}


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (4, 4, 32, 32, 3), generator=generator).float(), torch.tensor([0, 1, 2, 1])


def test_clips_are_read_as_the_device_reads_them(folders):
    from tlee.video import open_clip, read_frames

    spec = small_model().config.frame_spec()
    data = ClassFolders(folders / "train", spec)
    frames, label = data[4]
    with open_clip(str(folders / "train" / "run" / "1.mp4")) as clip:
        expected = list(read_frames(clip, spec))
    assert data.classes == ["jump", "run", "walk"] and label == 1 and len(data) == 9
    assert all(torch.equal(a, torch.from_numpy(b)) for a, b in zip(frames, expected))


def test_the_order_of_batches_is_fixed_by_the_seed(folders):
    data = ClassFolders(folders / "train", small_model().config.frame_spec(), cache=True)
    orders = [[labels.tolist() for _, labels in loader(data, 3, True, 0, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_z_is_carried_from_exit_to_exit():
    model = small_model()
    frames, _ = batch()
    features = model.features(frames, ALL)
    previous = None
    for state in exits(model, frames, ALL):
        feature = features[state.exit][:, state.frame]
        expected = feature if state.frame == 0 else torch.maximum(feature, previous)
        torch.testing.assert_close(state.z, expected)
        assert (state.previous is None) if previous is None else torch.equal(state.previous, previous)
        previous = state.z


@pytest.mark.parametrize(("stage", "scored"), [("backbone", [2]), ("branches", [0, 1])])
def test_the_loss_is_the_mean_over_frames_and_scored_exits(stage, scored):
    model = small_model()
    frames, labels = batch()
    chosen = scored if stage == "backbone" else ALL
    losses = [
        functional.cross_entropy(model.classifier(state.z), labels).item()
        for state in exits(model, frames, chosen)
        if state.exit in scored
    ]
    loss = STAGES[stage].loss(model, frames, labels, StageConfig(stage=stage, epochs=1))
    assert len(losses) == 4 * len(scored) and loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_the_gate_learns_where_the_loss_is_small_enough():
    model = small_model()
    frames, labels = batch()
    config = StageConfig(stage="gate", epochs=1, b_knob=0.9)
    losses = []
    for state in exits(model, frames, ALL):
        if state.frame in (1, 2):  # of four: the rule reads the gate in neither the first nor the last
            error = functional.cross_entropy(model.classifier(state.z), labels, reduction="none")
            target = (error <= 0.9 * math.exp(state.frame / (3 + state.exit))).float()
            score = model.gate(state.z, state.previous).sigmoid().squeeze(1)
            losses.append(functional.binary_cross_entropy(score, target).item())
    assert STAGES["gate"].loss(model, frames, labels, config).item() == pytest.approx(sum(losses) / 6, rel=1e-4)


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("frames", {"backbone", "branches", "classifier"}),
        ("backbone", {"backbone", "classifier"}),
        ("branches", {"branches"}),
        ("gate", {"gate"}),
    ],
)
def test_a_stage_changes_its_parts_and_nothing_else(stage, parts):
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    train_stage(model, [batch()], StageConfig(stage=stage, epochs=2, learning_rate=0.1))
    after = model.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(after[name], before[name])}
    assert changed == parts


def test_training_writes_a_checkpoint_and_is_the_same_every_time(folders, tmp_path):
    (tmp_path / "a.yml").write_text(yaml.safe_dump(configuration(folders)))
    config = load_config(tmp_path / "a.yml", TrainingConfig)
    losses = []
    for name in ("one", "two"):
        train(config, tmp_path / f"{name}.safetensors")
        losses.append(load_checkpoint(tmp_path / f"{name}.safetensors"))
    assert losses[0].config.labels == ["jump", "run", "walk"]
    for name, tensor in losses[0].state_dict().items():
        assert torch.equal(tensor, losses[1].state_dict()[name])


def test_training_learns():
    labels = torch.arange(12) % 3
    shades = torch.tensor([[250.0, 20.0, 20.0], [20.0, 250.0, 20.0], [20.0, 20.0, 250.0]])
    frames = shades[labels].view(12, 1, 1, 1, 3).expand(12, 4, 32, 32, 3)
    noisy = frames + 5 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    config = StageConfig(stage="frames", epochs=4, learning_rate=0.05)
    losses = train_stage(small_model(), [(noisy, labels)] * 10, config)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"data": {"train": "nowhere", "val": "nowhere"}}, "nowhere: no clips here"),
        ({"model": {**SMALL["model"], "classes": 7}}, "3 class folders for 7 classes"),
        ({"stages": []}, "stages"),
        ({"stages": [{"stage": "gates", "epochs": 1}]}, "stages.0.stage"),
        ({"stages": [{"stage": "gate", "epochs": 1}] * 2}, "named twice"),
        ({"surprise": 1}, "surprise"),
        (
            {"model": {**SMALL["model"], "cuts": [9, 9]}},
            r"a.yml: mobilenetv2 cannot be cut at \[9, 9\]; set model.cuts",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused(folders, tmp_path, change, problem):
    (tmp_path / "a.yml").write_text(yaml.safe_dump(configuration(folders, **change)))
    with pytest.raises(UsageError, match=problem):
        cli.command([str(tmp_path / "a.yml"), "-o", str(tmp_path / "a.safetensors")])
    assert not (tmp_path / "a.safetensors").exists()


def test_a_checkpoint_that_cannot_be_written_is_known_before_training(folders, tmp_path):
    config = TrainingConfig(**configuration(folders))
    with pytest.raises(UsageError, match="cannot be written"):
        train(config, tmp_path / "none" / "a.safetensors")


def test_a_clip_that_cannot_be_decoded_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="bad.mp4"):
        ClassFolders(tmp_path, small_model().config.frame_spec())[0]


def test_a_loss_that_explodes_stops_the_run():
    frames, labels = batch()
    with pytest.raises(UsageError, match="lower its learning_rate"):
        train_stage(small_model(), [(frames * float("inf"), labels)], StageConfig(stage="frames", epochs=1))


def test_training_starts_from_imagenet_weights_where_told(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    weights = torchvision.models.mobilenet_v2().state_dict()
    file = torchvision.models.MobileNet_V2_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(weights, tmp_path / "checkpoints" / file)
    stages = [{"stage": "branches", "epochs": 1, "batch": 4}]  # leaves the backbone as it is
    model = {**SMALL["model"], "width": 1.0}
    config = TrainingConfig(**configuration(folders, init="imagenet", model=model, stages=stages))
    train(config, tmp_path / "a.safetensors")
    trained = load_checkpoint(tmp_path / "a.safetensors").backbone.features.state_dict()
    assert all(torch.equal(tensor, weights[f"features.{name}"]) for name, tensor in trained.items())


def test_a_backbone_with_temporal_shift_is_trained_on_clips_in_order(folders, tmp_path):
    model = {**SMALL["model"], "backbone": "mobilenetv2_tsm"}
    stages = [{"stage": "backbone", "epochs": 1, "batch": 4}]
    train(TrainingConfig(**configuration(folders, model=model, stages=stages)), tmp_path / "a.safetensors")
    trained = load_checkpoint(tmp_path / "a.safetensors")
    assert trained.config.model.shifts and trained.config.frame_spec().order == [0, 1, 2, 3]


def test_a_gate_that_cannot_learn_is_not_trained(folders):
    with pytest.raises(ValueError, match="stage gate, but the gate 'random' has nothing to learn"):
        TrainingConfig(**configuration(folders, model={**SMALL["model"], "gate": "random"}))
