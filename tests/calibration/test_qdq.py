"""The INT8 form of segments: where its Q/DQ pairs stand, what it computes, and that TensorRT takes it."""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import SMALL, enliven, small_model
from helpers import tensorrt_rtx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tlee.calibration.int8.qdq import misplaced, quantised
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.export.segments import segment_modules, to_onnx
from tlee.runtime import onnx_session

MODELS = {
    "mobilenetv2": {},
    "mobilenetv2_tsm": {"backbone": "mobilenetv2_tsm", "frm": "ema"},
    "resnet18": {"backbone": "resnet18", "width": 1.0, "branch": "fc", "frm": "attention", "gate": "eg", "neck": 24},
}
QUICK = [pytest.param(name, marks=pytest.mark.full if name == "mobilenetv2_tsm" else ()) for name in MODELS]
# Root mean square of int8's errors on the samples that the ranges are from, as a part of the values': up to 0.042
# here, in every split more than 0.2 with ranges half as large or 16 times as large.
TOLERANCE = 0.06


class Segment(NamedTuple):
    content: bytes
    samples: list[dict[str, np.ndarray]]
    ranges: dict[str, float]
    form: bytes | None


def run(content: bytes, sample: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Exactly what the graph says: some processors' integer kernels saturate."""
    options = onnx_session._session_options(onnxruntime, None, False)
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, sample)


@functools.cache
def segments_of(model: str) -> dict[str, Segment]:
    """With samples from random frames that went through the segments before."""
    parts = segment_modules(enliven(small_model(model={**SMALL["model"], **MODELS[model]})))
    contents = {part.name: to_onnx(part).SerializeToString() for part in parts}
    samples: dict[str, list] = {part.name: [] for part in parts}
    values = {name: np.ones(shape, np.float32) for part in parts for name, shape in zip(part.inputs, part.shapes)}
    for frame in np.random.default_rng(0).integers(0, 256, (4, *values["frame"].shape)):
        values["frame"] = frame.astype(np.float32)
        for part in parts:
            inputs = {name: values[name] for name in part.inputs}
            samples[part.name].append(inputs)
            values.update(zip(part.outputs, run(contents[part.name], inputs)))
            if part.name == "neck":
                values["feature"] = values["projection"]
        values["previous"] = values["z"]
    return {name: segment(contents[name], samples[name]) for name in contents}


def segment(content: bytes, samples: list[dict[str, np.ndarray]]) -> Segment:
    ranges = tensor_ranges(content, samples, "minmax")
    return Segment(content, samples, ranges, quantised(content, ranges))


def forms_of(model: str) -> dict[str, onnx.ModelProto]:
    return {name: onnx.load_from_string(s.form) for name, s in segments_of(model).items() if s.form}


def deviation(segment: Segment, form: bytes) -> float:
    """Of the worst output."""
    results = [list(zip(run(segment.content, sample), run(form, sample))) for sample in segment.samples]
    return max(
        float(np.sqrt(np.square([a - b for a, b in output]).mean() / np.square([a for a, _ in output]).mean()))
        for output in zip(*results)
    )


def producers(model: onnx.ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def additions(model: onnx.ModelProto) -> dict[str, list[str]]:
    """What goes into each addition of two tensors: a tensor as it is, or in brackets what a pair is made of."""
    made, found = producers(model), {}
    for node in model.graph.node:
        if node.op_type == "Add" and not {tensor.name for tensor in model.graph.initializer} & set(node.input):
            pairs = {n: made[made[n].input[0]].input[0] for n in node.input if made[n].op_type == "DequantizeLinear"}
            found[node.name] = sorted(f"[{pairs[name]}]" if name in pairs else name for name in node.input)
    return found


@pytest.mark.parametrize("model", QUICK)
def test_opset_ir_version_and_interface_stay(model):
    for name, form in forms_of(model).items():
        before = onnx.load_from_string(segments_of(model)[name].content)
        onnx.checker.check_model(form, full_check=True)
        assert {node.domain for node in form.graph.node} == {""}
        for field in ("node", "initializer", "value_info"):
            before.graph.ClearField(field)
            form.graph.ClearField(field)
        assert form == before


def test_a_segment_without_weights_has_no_form():
    segments = segments_of("mobilenetv2")
    assert {name for name, s in segments.items() if s.form is None} == {"tail", "frm"}


@pytest.mark.parametrize("model", QUICK)
def test_every_pair_stands_where_tensorrt_wants_it(model):
    for name, s in segments_of(model).items():
        if s.form:
            assert (name, misplaced(s.form)) == (name, [])
            assert any("its weights are not quantised" in sentence for sentence in misplaced(s.content))
        else:
            assert misplaced(s.content) == []


def test_a_convolution_reads_int8_and_what_follows_reads_its_float_output():
    form = forms_of("mobilenetv2")["split0"]
    made = producers(form)
    for node in form.graph.node:
        before = [made[name].op_type if name in made else "constant" for name in node.input]
        if node.op_type == "Conv":
            assert before == ["DequantizeLinear", "DequantizeLinear", "constant"]
        if node.op_type == "Clip":
            assert before == ["Conv", "constant", "constant"]
    assert Counter(node.op_type for node in form.graph.node)["QuantizeLinear"] == 2 * 21


def test_a_skip_is_read_through_the_pair_of_the_convolution_beside_it():
    forms = forms_of("mobilenetv2")
    assert additions(forms["split1"]) == {
        "/part.8/Add": ["/part.8/conv/conv.2/Conv_output_0", "[x0_blocked]"],
        "/part.9/Add": ["/part.9/conv/conv.2/Conv_output_0", "[/part.8/Add_output_0]"],
        "/part.10/Add": ["/part.10/conv/conv.2/Conv_output_0", "[/part.9/Add_output_0]"],
    }
    sources = Counter(node.input[0] for node in forms["split1"].graph.node if node.op_type == "QuantizeLinear")
    assert set(sources.values()) == {1}


def test_where_convolutions_give_both_sides_the_shorter_path_is_quantised():
    block = "/part.6/part.6"
    assert additions(forms_of("resnet18")["split1"]) == {
        f"{block}.0/Add": [f"{block}.0/conv2/Conv_output_0", f"[{block}.0/downsample/downsample.0/Conv_output_0]"],
        f"{block}.1/Add": [f"{block}.1/conv2/Conv_output_0", f"[{block}.0/relu_1/Relu_output_0]"],
    }


def test_with_temporal_shift_the_skip_gets_a_pair_of_its_own():
    found = additions(forms_of("mobilenetv2_tsm")["split0"])
    assert found["/part.3/Add"] == ["/part.3/conv/conv.2/Conv_output_0", "[/part.2/conv/conv.2/Conv_output_0]"]


def test_an_addition_that_no_convolution_gives_stays_float():
    assert additions(forms_of("mobilenetv2")["branch0"]) == {"/Add": ["/Mul_1_output_0", "/Mul_output_0"]}


def test_a_layer_that_runs_twice_gets_weights_of_its_own_each_time():
    for name in ("frm", "gate"):
        form = forms_of("resnet18")[name]
        weights = [node.input[1] for node in form.graph.node if node.op_type in ("Conv", "Gemm")]
        assert len(weights) == len(set(weights)) >= 4


@pytest.mark.parametrize("model", QUICK)
def test_int8_computes_what_float32_does(model):
    for name, s in segments_of(model).items():
        if s.form:
            assert (name, deviation(s, s.form)) < (name, TOLERANCE)


@pytest.mark.parametrize("factor", [0.5, 16])
def test_wrong_ranges_would_be_seen(factor):
    s = segments_of("mobilenetv2")["split1"]
    wrong = {name: factor * magnitude for name, magnitude in s.ranges.items()}
    assert deviation(s, quantised(s.content, wrong)) > 3 * TOLERANCE


@pytest.mark.parametrize("model", QUICK)
def test_tensorrt_takes_every_form(model):
    for s in segments_of(model).values():
        if s.form:
            assert tensorrt_rtx.build(s.form) > 0


def layer(operator: str, shape: tuple[int, ...], weights: np.ndarray, **attributes) -> Segment:
    """One operation alone, on four random inputs; weights of the first output channel are large."""
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    sides[0] = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    node = helper.make_node(operator, ["x", "w"], ["y"], "layer", **attributes)
    graph = helper.make_graph([node], "graph", sides[:1], sides[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    content = onnx.shape_inference.infer_shapes(model).SerializeToString()
    rng = np.random.default_rng(1)
    return segment(content, [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(4)])


@pytest.mark.parametrize(
    ("operator", "shape", "weights", "axis", "attributes"),
    [
        ("Conv", (1, 3, 5, 5), (4, 3, 3, 3), 0, {}),
        ("Conv", (1, 4, 5, 5), (4, 1, 3, 3), 0, {"group": 4}),
        ("ConvTranspose", (1, 3, 5, 5), (3, 4, 3, 3), 1, {}),
        ("Gemm", (1, 6), (4, 6), 0, {"transB": 1}),
        ("Gemm", (1, 6), (6, 4), 1, {}),
        ("MatMul", (2, 6), (6, 4), 1, {}),
    ],
)
def test_weights_have_a_scale_for_each_output_channel(operator, shape, weights, axis, attributes):
    values = np.random.default_rng(0).normal(size=weights).astype(np.float32)
    np.moveaxis(values, axis, 0)[0] *= 1000
    s = layer(operator, shape, values, **attributes)
    form = onnx.load_from_string(s.form)
    scale = numpy_helper.to_array(next(tensor for tensor in form.graph.initializer if tensor.name == "w_scale"))
    assert scale == pytest.approx(np.abs(np.moveaxis(values, axis, 0).reshape(4, -1)).max(1) / 127, rel=1e-6)
    assert misplaced(s.form) == [] and deviation(s, s.form) < 0.02 and tensorrt_rtx.build(s.form) > 0


def test_a_product_of_two_inputs_is_left_as_it_is():
    text = '<ir_version: 7, opset_import: ["": 13]> graph (float[2,2] x) => (float[2,2] y) { y = MatMul(x, x) }'
    content = onnx.parser.parse_model(text).SerializeToString()
    assert quantised(content, {"x": 1.0, "y": 1.0}) is None and misplaced(content) == []


def test_a_tensor_without_a_range_is_an_error():
    s = segments_of("mobilenetv2")["head"]
    with pytest.raises(ValueError, match="not specified for param z"):
        quantised(s.content, {})


@pytest.mark.filterwarnings("error")
def test_the_form_is_the_same_every_time_and_made_without_a_word(capfd, caplog):
    s = segments_of("resnet18")["split1"]
    assert quantised(s.content, s.ranges) == s.form
    assert capfd.readouterr() == ("", "") and caplog.text == ""


# How to break a form, by the sentence that says so. Names are those of a ResNet-18's second split.
BLOCK = "/part.6/part.6.0"
CONV, FIRST, RELU = f"{BLOCK}/conv2/Conv", f"{BLOCK}/conv1/Conv", f"{BLOCK}/relu/Relu"
DOWNSAMPLE, ADD = f"{BLOCK}/downsample/downsample.0/Conv", f"{BLOCK}/Add"
PAIR = f"{RELU}_output_0_QuantizeLinear"  # of the input of CONV
OTHER = f"{PAIR[:-14]}DequantizeLinear"


class Broken:
    """A form to edit."""

    def __init__(self) -> None:
        self.model = forms_of("resnet18")["split1"]
        self.nodes = {node.name: node for node in self.model.graph.node}
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def set(self, name: str, value: np.ndarray) -> None:
        self.constants[name].CopyFrom(numpy_helper.from_array(np.asarray(value), name))

    def quantise(self, user: str, source: str) -> None:
        """Put one more pair between a tensor and one node that reads it."""
        place = list(self.model.graph.node).index(self.nodes[user])
        numbers = self.nodes[PAIR].input[1:]
        pair = [
            helper.make_node("QuantizeLinear", [source, *numbers], ["int8"], "new"),
            helper.make_node("DequantizeLinear", ["int8", *numbers], ["float"], "new_DequantizeLinear"),
        ]
        for node in reversed(pair):
            self.model.graph.node.insert(place, node)
        self.redirect(user, source, "float")

    def redirect(self, user: str, source: str, target: str) -> None:
        node = next(node for node in self.model.graph.node if node.name == user)
        assert source in node.input
        node.input[:] = [target if name == source else name for name in node.input]

    def source(self, user: str, index: int) -> tuple[str, str]:
        """What a node reads through a pair, and the tensor before the pair."""
        made = producers(self.model)
        name = self.nodes[user].input[index]
        return name, made[made[name].input[0]].input[0]


def zero_point(value):
    return lambda form: form.set(form.nodes[PAIR].input[2], value)


def scale(value):
    return lambda form: form.set(form.nodes[PAIR].input[1], np.float32(value))


def read_float(user, index):
    return lambda form: form.redirect(user, *form.source(user, index))


def quantise_output(of, user):
    return lambda form: form.quantise(user, form.nodes[of].output[0])


def one_scale_for_all_weights(form):
    for kind, value in (("scale", np.float32(0.01)), ("zero_point", np.int8(0))):
        form.set(f"{form.source(CONV, 1)[1]}_{kind}", value)


def weights_by_input_channel(form):
    weights = form.source(CONV, 1)[1]
    for node in ("Quantize", "Dequantize"):
        form.nodes[f"{weights}_{node}Linear"].attribute[0].i = 1


def quantise_longer_path(form):
    form.redirect(ADD, *form.source(ADD, 1))
    form.quantise(ADD, form.nodes[CONV].output[0])


def quantise_graph_output(form):
    last = form.model.graph.output[0].name
    producers(form.model)[last].output[0] = "inner"
    form.model.graph.node.append(
        helper.make_node("QuantizeLinear", ["inner", *form.nodes[PAIR].input[1:]], ["q"], "new")
    )
    form.model.graph.node.append(helper.make_node("DequantizeLinear", ["q", *form.nodes[PAIR].input[1:]], [last], "dq"))


NUMBERS = "its scale is not constant, finite and above 0"
POINT = "its zero point is not an int8 0"
BREAKS = {
    "zero point 1": (zero_point(np.int8(1)), [f"{PAIR}: {POINT}", f"{OTHER}: {POINT}"]),
    "zero point unsigned": (zero_point(np.uint8(0)), [f"{PAIR}: {POINT}", f"{OTHER}: {POINT}"]),
    "no zero point": (lambda form: form.nodes[PAIR].input.pop(), [f"{PAIR}: {POINT}"]),
    "scale 0": (scale(0), [f"{PAIR}: {NUMBERS}", f"{OTHER}: {NUMBERS}"]),
    "scale negative": (scale(-1), [f"{PAIR}: {NUMBERS}", f"{OTHER}: {NUMBERS}"]),
    "scale infinite": (scale(np.inf), [f"{PAIR}: {NUMBERS}", f"{OTHER}: {NUMBERS}"]),
    "scale no number": (scale(np.nan), [f"{PAIR}: {NUMBERS}", f"{OTHER}: {NUMBERS}"]),
    "scale computed": (
        lambda form: form.redirect(PAIR, form.nodes[PAIR].input[1], form.nodes[FIRST].output[0]),
        [f"{PAIR}: {NUMBERS}"],
    ),
    "input float": (read_float(FIRST, 0), [f"{FIRST}: its input x0 is not quantised"]),
    "weights float": (read_float(CONV, 1), [f"{CONV}: its weights are not quantised", ".*nothing needs.*"]),
    "weights per tensor": (one_scale_for_all_weights, [f"{CONV}: its weights are not quantised per output channel"]),
    "weights by input": (weights_by_input_channel, [f"{CONV}: its weights are not quantised per output channel"]),
    "bias": (lambda form: form.quantise(CONV, form.nodes[CONV].input[2]), [f"{CONV}: its bias is quantised"]),
    "before ReLU": (quantise_output(FIRST, RELU), [f"new: nothing needs {FIRST}_output_0 quantised"]),
    "skip float": (
        read_float(ADD, 1),
        [
            f"{ADD}: its skip {DOWNSAMPLE}_output_0 is not quantised",
            f".*: nothing needs {DOWNSAMPLE}_output_0 quantised",
        ],
    ),
    "both sides": (
        quantise_output(CONV, ADD),
        [f"{ADD}: its input float is quantised, which .*", f"new: nothing needs {CONV}_output_0 quantised"],
    ),
    "longer path": (
        quantise_longer_path,
        [
            f"{ADD}: its skip {DOWNSAMPLE}_output_0 is not quantised",
            f"{ADD}: its input float is quantised, which .*",
            f".*: nothing needs {DOWNSAMPLE}_output_0 quantised",
            f"new: nothing needs {CONV}_output_0 quantised",
        ],
    ),
    "graph output": (quantise_graph_output, ["new: nothing needs inner quantised"]),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_rule_is_found_and_named(name):
    edit, sentences = BREAKS[name]
    form = Broken()
    edit(form)
    found = misplaced(form.model.SerializeToString())
    assert len(found) == len(sentences), found
    for sentence in sentences:
        assert any(re.fullmatch(sentence, line) for line in found), (sentence, found)
