"""The parts of the model: shapes, cuts, the published formulas."""

import pytest
import torch
from conftest import small_model

from tlee.errors import UsageError
from tlee.export.segments import count_macs, segment_modules
from tlee.models.backbones import Backbone
from tlee.models.branches import Branch
from tlee.models.config import Config
from tlee.models.frms import MaxFRM, MeanFRM
from tlee.models.gates import LinearGate
from tlee.models.model import Tlee


@pytest.mark.parametrize(
    ("name", "branches", "shapes"),
    [
        ("mobilenetv2", 3, [(24, 56, 56), (64, 14, 14), (96, 14, 14), (1280, 7, 7)]),
        ("mobilenetv2", 2, [(64, 14, 14), (96, 14, 14), (1280, 7, 7)]),
        ("mobilenetv2", 1, [(96, 14, 14), (1280, 7, 7)]),
        ("resnet18", 3, [(64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 1, 1)]),
    ],
)
def test_backbones_are_cut_where_published(name, branches, shapes):
    assert Backbone(name, branches, 224).shapes == shapes


def test_the_chained_splits_are_the_backbone():
    backbone = Backbone("mobilenetv2", 3, 64, width=0.35).eval()
    frame = x = torch.rand(1, 3, 64, 64)
    for b in range(4):
        x = backbone.split(b, x)
    assert torch.equal(x, backbone.features(frame))


def test_macs_are_those_of_the_published_cuts():
    parts = segment_modules(Tlee(Config(model={"classes": 101})).eval())
    splits = [count_macs(part) / 1e9 for part in parts if part.name.startswith("split")]
    assert [sum(splits[: b + 1]) for b in range(4)] == pytest.approx([0.076, 0.121, 0.164, 0.299], rel=0.01)


def test_the_branch_mixes_its_pools_then_reduces_then_projects():
    branch = Branch((8, 8, 8), feature_size=5, scale=1, crm_num=2)
    assert [tuple(c.weight.shape[:2]) for c in branch.reduce] == [(4, 8), (2, 4)]
    x = torch.rand(2, 8, 8, 8)
    windows = x.unflatten(2, (2, 4)).unflatten(4, (2, 4))  # 8 // 4 = 2 windows of 4 a side
    mixed = branch.alpha * windows.amax((3, 5)) + (1 - branch.alpha) * windows.mean((3, 5))
    for convolution in branch.reduce:
        weight = convolution.weight[:, :, 0, 0]
        mixed = (torch.einsum("oi,nihw->nohw", weight, mixed) + convolution.bias[:, None, None]).relu()
    expected = mixed.flatten(1) @ branch.project.weight.T + branch.project.bias
    torch.testing.assert_close(branch(x), expected)


def test_a_branch_that_would_lose_all_channels_is_refused():
    with pytest.raises(UsageError, match="leave nothing of 8 channels; lower model.branch_scale"):
        Branch((8, 8, 8), 5, scale=2, crm_num=3)


def test_feature_reuse():
    z, previous = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 4.0]])
    assert MaxFRM()(z, previous).tolist() == [[1.0, 4.0]]
    assert MeanFRM()(z, previous).tolist() == [[0.5, 1.0]]


def test_the_gate_reads_both_features_through_one_layer():
    gate = LinearGate(6)
    z, previous = torch.rand(1, 6), torch.rand(1, 6)
    halves = gate.decide.weight.split(32, dim=1)
    expected = gate.reduce(z) @ halves[0].T + gate.reduce(previous) @ halves[1].T + gate.decide.bias
    torch.testing.assert_close(gate(z, previous), expected)


def test_frames_are_normalised_as_configured():
    model = small_model(frames={"count": 4, "resize": 36, "mean": (0.5, 0.0, 0.0), "std": (0.5, 1.0, 0.25)})
    frame = torch.tensor([255.0, 127.5, 51.0]).expand(1, 2, 2, 3)
    assert model.normalise(frame)[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.5, 0.8], abs=1e-6)
