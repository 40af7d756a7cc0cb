"""A fused exit computes what its segments compute one after the other, in graphs that TensorRT takes."""

import functools

import numpy as np
import onnx
import pytest
from conftest import SMALL, enliven, small_model
from onnx import numpy_helper

from tlee.export.fused_exits import compose
from tlee.export.segments import segment_modules, to_onnx
from tlee.export.targets import TARGETS, check_operators
from tlee.manifest import fused_exit_segments
from tlee.runtime.onnx_session import open_session

MODELS = {  # the other kinds: test_family.py
    "max, gm": {},
    "attention, eg, neck": {"frm": "attention", "gate": "eg", "neck": 20},
    "ema": {"frm": "ema", "gate": "none", "branch": "fc"},
    "gm, neck": {"frm": "none", "neck": 20},
    "heads of each frame": {"heads": "per_frame", "gate": "eg", "frm": "none", "neck": 20},
}


@functools.cache
def exits_of(model):
    """The segments of its exits, as graphs."""
    parts = segment_modules(enliven(small_model(model={**SMALL["model"], "branches": 1, **MODELS[model]})))
    return {part.name: to_onnx(part) for part in parts if not part.name.startswith("split")}


def fused_exits_of(graphs):
    return {name: compose(name, parts, graphs) for name, parts in fused_exit_segments(1, graphs).items()}


def inputs_of(fused, position):
    rng = np.random.default_rng(3)
    shapes = {v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim] for v in fused.graph.input}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    given = {"position": np.full((1, 1), position, np.float32), "temperature": np.full((1, 1), 0.7, np.float32)}
    return {name: given.get(name, value) for name, value in values.items()}


def run(graph, values):
    session = open_session(graph.SerializeToString(), threads=1)
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, values)))


def chained(graphs, parts, given):
    """The fused exit's outputs, segment after segment; without FRM and gate, `previous` and `position` are no
    inputs."""
    values = dict(given)
    for part in parts:
        if part == "frm" and not given["position"].any():  # a first frame
            continue
        wanted = {value.name: values[value.name] for value in graphs[part].graph.input}
        values.update(run(graphs[part], wanted))
        if part == "neck":
            values["feature"] = values["projection"]
        if part != "frm":
            values.setdefault("z", values["feature"])
        if part in (parts[0], "neck"):
            values["z"] = values["feature"]
    return values


@pytest.mark.parametrize("position", [0.0, 2.0], ids=["first frame", "later frame"])
@pytest.mark.parametrize("model", MODELS)
def test_a_unit_computes_what_its_segments_do(model, position):
    graphs = exits_of(model)
    for name, fused in fused_exits_of(graphs).items():
        given = inputs_of(fused, position)
        expected = chained(graphs, fused_exit_segments(1, graphs)[name], given)
        found = run(fused, given)
        assert {"z", "logits", "confidence"} <= set(found)
        for value in found:
            np.testing.assert_allclose(found[value], expected[value], rtol=0, atol=1e-6)


def test_in_a_first_frame_z_is_the_feature_whatever_the_previous_one_was():
    graphs = exits_of("attention, eg, neck")
    fused = fused_exits_of(graphs)["exit0"]
    given = inputs_of(fused, 0.0)
    wild = {**given, "previous": np.full_like(given["previous"], np.nan)}
    assert (run(fused, given)["z"] == run(fused, wild)["z"]).all()


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("max, gm", ["previous", "position", "temperature"], ["z", "logits", "confidence", "score"]),
        ("ema", ["previous", "position", "temperature"], ["z", "logits", "confidence"]),
        ("gm, neck", ["previous", "temperature"], ["z", "logits", "confidence", "score"]),
        ("heads of each frame", ["previous", "position", "temperature"], ["z", "logits", "confidence", "score"]),
    ],
)
def test_a_unit_has_the_inputs_that_its_segments_need_in_order(model, inputs, outputs):
    for b, fused in enumerate(fused_exits_of(exits_of(model)).values()):
        assert [value.name for value in fused.graph.input] == [f"x{b}", *inputs]
        assert [value.name for value in fused.graph.output] == outputs


@pytest.mark.parametrize("model", MODELS)
def test_layers_and_values_say_which_segment_they_belong_to(model):
    graphs = exits_of(model)
    for name, fused in fused_exits_of(graphs).items():
        parts = fused_exit_segments(1, graphs)[name]
        nodes = [node.name for node in fused.graph.node]
        assert len(nodes) == len(set(nodes)) and {node.split("/")[0] for node in nodes} == set(parts)
        own = {value.name for value in (*fused.graph.input, *fused.graph.output)}
        inner = {name for node in fused.graph.node for name in node.output} - own
        assert {value.split("/")[0] for value in inner} <= set(parts)
        new = [node for node in nodes if node.startswith("frm/choose")]
        assert len(nodes) == sum(len(graphs[part].graph.node) for part in parts) + len(new)
        assert len(new) == (2 if "frm" in parts else 0)


def test_nodes_without_a_name_get_one():
    graphs = {name: onnx.ModelProto.FromString(g.SerializeToString()) for name, g in exits_of("max, gm").items()}
    for node in graphs["head"].graph.node:
        node.name = ""
    nodes = {node.name for node in fused_exits_of(graphs)["exit0"].graph.node}
    assert {"head/Gemm_0", "head/Softmax_2"} <= nodes


@pytest.mark.parametrize("model", MODELS)
def test_no_weight_is_there_twice(model):
    graphs = exits_of(model)

    def numbers(graph):
        return sum(numpy_helper.to_array(tensor).size for tensor in graph.graph.initializer)

    for name, fused in fused_exits_of(graphs).items():
        parts = fused_exit_segments(1, graphs)[name]
        assert numbers(fused) == sum(numbers(graphs[part]) for part in parts) + ("frm" in parts)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_takes_a_unit(target):
    for name, fused in fused_exits_of(exits_of("attention, eg, neck")).items():
        assert fused.opset_import[0].version == 13 and fused.ir_version == 7
        check_operators(name, fused, target)
