"""What TensorRT on the board does not take is found at export, by node, operator and remedy."""

import pytest
from conftest import small_model
from onnx import TensorProto, helper
from torch import nn

from tlee.errors import UsageError
from tlee.export import exporter
from tlee.export.segments import SegmentModule, segment_modules, to_onnx
from tlee.export.targets import OPERATORS, TARGETS, check_operators


def graph_of(operator, opset=13, kind=TensorProto.FLOAT, domain="", **attributes):
    node = helper.make_node(operator, ["x"], ["y"], name="layer7", domain=domain, **attributes)
    values = [helper.make_tensor_value_info(name, kind, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=7)


@pytest.fixture(scope="module")
def graphs():
    """Every segment's, by name."""
    return {segment.name: to_onnx(segment) for segment in segment_modules(small_model())}


@pytest.mark.parametrize("target", TARGETS)
def test_every_segment_is_taken_by_every_target(graphs, target):
    for name, graph in graphs.items():
        check_operators(name, graph, target)


def test_an_operator_that_the_target_lacks_is_named_with_its_node_and_a_remedy():
    with pytest.raises(UsageError) as caught:
        check_operators("split2", graph_of("HardSwish", opset=14), "jetpack5")
    assert str(caught.value) == (
        "segment split2: node 'layer7' is a HardSwish, which TensorRT 8.5 (jetpack5) does not have; "
        "write it as x * relu6(x + 3) / 6"
    )


def test_targets_differ():
    assert "Reciprocal" in set(OPERATORS["8.5"]) - set(OPERATORS["8.2"])
    check_operators("head", graph_of("Reciprocal"), "jetpack5")
    with pytest.raises(UsageError, match=r"is a Reciprocal, which TensorRT 8.2 .* newer JetPack with --target"):
        check_operators("head", graph_of("Reciprocal"), "jetpack4")


def test_a_newer_opset_is_refused_for_the_nano():
    check_operators("head", graph_of("Relu", opset=14), "jetpack5")
    with pytest.raises(UsageError, match=r"opset 14, TensorRT 8.2 \(jetpack4\) reads up to 13"):
        check_operators("head", graph_of("Relu", opset=14), "jetpack4")


def test_a_type_that_is_not_taken_is_refused():
    with pytest.raises(UsageError, match="is a Abs of another type, .* let the model compute in float32"):
        check_operators("head", graph_of("Abs", kind=TensorProto.DOUBLE), "jetpack5")


def test_what_no_device_would_open_is_refused():
    with pytest.raises(UsageError) as caught:
        check_operators("exit1", graph_of("Ceil"), "workstation")
    assert str(caught.value) == (
        "fused exit exit1: the operator 'Ceil', which no bundle may hold; replace that layer of the model"
    )


def test_operators_of_other_domains_are_refused():
    with pytest.raises(UsageError, match="is a Relu, which TensorRT"):
        check_operators("head", graph_of("Relu", domain="own"), "workstation")


@pytest.mark.parametrize("layer", [nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Mish, nn.Softplus, nn.ELU])
def test_common_activations_are_exported_in_supported_operators(layer):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), layer()).eval()
    graph = to_onnx(SegmentModule("x", module, ("a",), ((1, 3, 8, 8),), ("b",)))
    for target in TARGETS:
        check_operators("x", graph, target)


def test_an_export_that_the_target_cannot_take_writes_nothing(tmp_path, small_checkpoint, monkeypatch):
    monkeypatch.setitem(OPERATORS, "8.2", {"Conv": ["FP32"]})
    with pytest.raises(UsageError, match=r"segment split0: node '\S+' is a \w+, which TensorRT 8.2 \(jetpack4\)"):
        exporter.export_bundle(small_model(), tmp_path / "a.tlee", small_checkpoint)
    assert not (tmp_path / "a.tlee").exists()


def test_the_lists_are_those_of_nvidia():
    assert len(OPERATORS["8.2"]) > 120 and set(OPERATORS["8.2"]["Relu"]) == {"FP32", "FP16", "INT8"}
    assert "HardSwish" not in OPERATORS["8.2"] and "HardSwish" not in OPERATORS["8.5"]
