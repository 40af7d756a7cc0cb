"""Branches, feature reuse and gates: the published formulas, written out."""

import pytest
import torch
from conftest import SMALL, small_model
from torch.nn import functional as F

from tlee.errors import UsageError
from tlee.models.branches import BRANCHES, BlockBranch, Branch, ConvBranch, FCBranch
from tlee.models.config import Config
from tlee.models.frms import FRMS
from tlee.models.gates import GATES, ConvGate, LinearGate

Z, PREVIOUS = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 4.0]])


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


def test_the_convolution_branch():
    branch = ConvBranch((6, 5, 5), feature_size=4).eval()
    first, second, third = (layer for layer in branch.layers if isinstance(layer, torch.nn.Conv2d))
    assert [tuple(c.weight.shape) for c in (first, second, third)] == [(3, 6, 1, 1), (3, 3, 3, 3), (6, 3, 1, 1)]
    assert all(c.bias is None for c in (first, second, third))
    x = torch.rand(2, 6, 5, 5)
    scale = (1 + 1e-5) ** -0.5  # of a fresh batch norm
    y = F.relu(scale * F.conv2d(x, first.weight))
    y = F.relu(scale * F.conv2d(y, second.weight))
    assert y.shape[2:] == (3, 3)
    y = (scale * F.conv2d(y, third.weight)).mean((2, 3))
    torch.testing.assert_close(branch(x), F.linear(y, branch.project.weight, branch.project.bias))


def test_a_map_too_small_for_the_convolution_branch_is_refused():
    with pytest.raises(UsageError, match="does not fit on a map of 2 x 2; set model.branch to crm or fc"):
        ConvBranch((6, 2, 2), 4)


def test_the_linear_branch():
    branch = FCBranch((6, 5, 5), feature_size=4).eval()
    wide, norm, _, project = branch.layers
    assert wide.weight.shape == (1024, 6) and isinstance(norm, torch.nn.BatchNorm1d)
    x = torch.rand(2, 6, 5, 5)
    hidden = F.relu(wide(x.mean((2, 3))) * (1 + 1e-5) ** -0.5)
    torch.testing.assert_close(branch(x), F.linear(hidden, project.weight, project.bias))


@pytest.mark.parametrize(("size", "blocks"), [(16, 2), (7, 1), (4, 1)])
def test_the_branch_of_blocks_halves_the_map_and_doubles_its_channels_down_to_four(size, blocks):
    branch = BlockBranch((6, size, size), feature_size=5).eval()
    assert branch.project.in_features == 6 * 2**blocks
    depthwise = [layer for layer in branch.layers if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1]
    assert [(layer.groups, layer.stride) for layer in depthwise] == [(12 * 2**i, (2, 2)) for i in range(blocks)]
    assert branch(torch.rand(2, 6, size, size)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("max", [[1.0, 4.0]]),
        ("mean", [[0.5, 1.0]]),
        ("add", [[1.0, 6.0]]),
        ("none", [[1.0, -2.0]]),
        ("ema", [[0.001, 3.994]]),  # beta starts at 0.999
    ],
)
def test_feature_reuse(name, expected):
    torch.testing.assert_close(FRMS[name](2)(Z, PREVIOUS), torch.tensor(expected))


def test_attention_weighs_each_feature_by_its_score():
    frm = FRMS["attention"](2)
    first, second = frm.score[1], frm.score[3]
    assert first.weight.shape == (256, 2) and second.weight.shape == (1, 256)
    weights = [torch.sigmoid(second(F.relu(first(F.relu(x))))) for x in (Z, PREVIOUS)]
    expected = (weights[0] * Z + weights[1] * PREVIOUS) / (weights[0] + weights[1])
    torch.testing.assert_close(frm(Z, PREVIOUS), expected)
    torch.testing.assert_close(frm(Z, Z), Z)


def test_the_linear_gate_reads_both_features_through_one_layer():
    gate = LinearGate(6)
    z, previous = torch.rand(1, 6), torch.rand(1, 6)
    halves = gate.decide.weight.split(32, dim=1)
    expected = gate.reduce(z) @ halves[0].T + gate.reduce(previous) @ halves[1].T + gate.decide.bias
    torch.testing.assert_close(gate(z, previous), expected)


def test_the_convolution_gate_reads_both_features_through_the_same_two_layers():
    gate = ConvGate(6)
    z, previous = torch.rand(3, 6), torch.rand(3, 6)
    first, second = gate.reduce[0], gate.reduce[2]
    assert first.weight.shape == (128, 6, 1, 1) and second.weight.shape == (64, 128, 1, 1)

    def reduced(x):
        x = F.relu(x @ first.weight[:, :, 0, 0].T + first.bias)
        return F.relu(x @ second.weight[:, :, 0, 0].T + second.bias)

    expected = gate.decide(torch.cat([reduced(z), reduced(previous)], 1))
    torch.testing.assert_close(gate(z, previous), expected)
    torch.testing.assert_close(gate.train()(z, previous), expected)  # no batch norm in training either


@pytest.mark.parametrize("branch", BRANCHES)
@pytest.mark.parametrize("gate", GATES)
def test_parts_are_chosen_by_configuration(branch, gate):
    changes = {"input_size": 48, "branch": branch, "gate": gate, "frm": "ema"}
    model = small_model(model={**SMALL["model"], **changes}, frames={"count": 4, "resize": 48})
    kinds = {"crm": Branch, "conv": ConvBranch, "fc": FCBranch, "blocks": BlockBranch}
    assert all(isinstance(module, kinds[branch]) for module in model.branches)
    assert (model.gate is None) == (gate in ("random", "none"))
    assert model.frm.beta.item() == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("key", "published", "own"),
    [
        ("frm", "mp", "max"),
        ("frm", "frm", "max"),
        ("frm", "ap", "mean"),
        ("frm", "afrm", "attention"),
        ("frm", "na", "add"),
        ("branch", "Conv_Branch", "conv"),
        ("branch", "FC_Branch", "fc"),
        ("backbone", "BN_Inception", "bn_inception"),
        ("backbone", "efficientnetb3", "efficientnet_b3"),
    ],
)
def test_parts_may_be_named_as_published(key, published, own):
    assert getattr(Config(model={"classes": 3, key: published}).model, key) == own
