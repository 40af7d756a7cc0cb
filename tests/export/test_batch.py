"""Graphs take any number of videos at once, and one that does not is found."""

import numpy as np
import onnx
import pytest
from conftest import small_model
from onnx import helper, numpy_helper

from tlee.bundle import BATCH, Bundle
from tlee.errors import UsageError, VerificationError
from tlee.export import exporter
from tlee.export.segments import free_batch, to_onnx
from tlee.export.verify import verify_batches

HEAD = '<ir_version: 7, opset_import: ["": 13]> graph (float[1,6] z, float[1,1] temperature) => (float[1,6] logits)'


def sizes(value):
    return [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def before_head(content, *nodes):
    """A head with nodes in front that make z `other`."""
    head = onnx.load_from_string(content)
    for node in head.graph.node:
        node.input[:] = ["other" if name == "z" else name for name in node.input]
    for node in reversed(nodes):
        head.graph.node.insert(0, node)
    return head


def mixed(content):
    """Each z becomes the largest of all videos': for one video nothing changes."""
    largest = helper.make_node("ReduceMax", ["z"], ["largest"], axes=[0], keepdims=1)
    return before_head(content, largest, helper.make_node("Max", ["z", "largest"], ["other"]))


def fixed(content):
    head = before_head(content, helper.make_node("Reshape", ["z", "shape"], ["other"]))
    size = head.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    head.graph.initializer.append(numpy_helper.from_array(np.array([1, size]), "shape"))
    return head


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_graph_is_for_any_number_of_videos_that_share_a_temperature(exported, precision):
    bundle = Bundle.open(exported)
    for name, entry in (*bundle.manifest["segments"].items(), *bundle.manifest["fused_exits"].items()):
        graph = onnx.load_from_string(bundle.read(name, precision)).graph
        for side, values in (("inputs", graph.input), ("outputs", graph.output)):
            first = {value["name"]: 1 if value["name"] == "temperature" else BATCH for value in entry[side]}
            described = {value["name"]: [first[value["name"]], *value["shape"][1:]] for value in entry[side]}
            assert {value.name: sizes(value) for value in values} == described
            assert all(value["shape"][0] == 1 for value in entry[side])


def test_the_batch_is_handed_on_by_all_nodes():
    model = onnx.parser.parse_model(HEAD + "{ y = Div(z, temperature) logits = Flatten<axis = 1>(y) }")
    free_batch("head", model)
    onnx.checker.check_model(model, full_check=True)
    assert [sizes(value) for value in (*model.graph.input, *model.graph.output)] == [[BATCH, 6], [1, 1], [BATCH, 6]]


@pytest.mark.parametrize(
    "body", ["<int64[2] s = {1, 6}> { logits = Reshape(z, s) }", "{ y = Softmax(z) logits = Transpose<perm=[1,0]>(y) }"]
)
def test_a_node_that_does_not_is_named(body):
    model = onnx.parser.parse_model(HEAD + body)
    model.graph.node[-1].name = "/last"
    with pytest.raises(UsageError, match="^segment head: node '/last' is a (Reshape|Transpose) that computes for one"):
        free_batch("head", model)


@pytest.mark.parametrize("change", [mixed, fixed])
def test_what_one_video_does_to_another_is_found(small_bundle, monkeypatch, change):
    bundle = Bundle.open(small_bundle)
    verify_batches(bundle)
    read = bundle.read
    wrong = change(read("head")).SerializeToString()
    monkeypatch.setattr(bundle, "read", lambda name: wrong if name == "head" else read(name))
    with pytest.raises(VerificationError, match="given 12 videos at once, head differs by .* from one by one"):
        verify_batches(bundle)


def test_a_bundle_that_mixes_videos_never_appears(tmp_path, monkeypatch, small_checkpoint):
    def wrong(part):
        graph = to_onnx(part)
        return mixed(graph.SerializeToString()) if part.name == "head" else graph

    monkeypatch.setattr(exporter, "to_onnx", wrong)
    with pytest.raises(VerificationError, match="videos at once, head differs"):
        exporter.export_bundle(small_model(), tmp_path / "a.tlee", small_checkpoint)
    assert list(tmp_path.iterdir()) == []
