"""A graph that no export writes is refused before ONNX Runtime or TensorRT sees it; what passes runs within bounds."""

import json
import mmap
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import SMALL, small_model
from onnx import TensorProto, helper, numpy_helper

from tlee.bundle import Bundle
from tlee.export import targets
from tlee.export.fused_exits import compose
from tlee.export.segments import segment_modules, to_onnx
from tlee.graphs import GraphError, check_graph
from tlee.operators import OPERATORS
from tlee.protobuf import LONGEST_LIST

node = helper.make_node
MANY = LONGEST_LIST + 1
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
FULL = pytest.mark.full
MUTATIONS = [120, pytest.param(2000, marks=FULL)]
RUN = Path(__file__).parent.parent / "helpers" / "run_graphs.py"


def constant(name, values, dtype=np.float32):
    return numpy_helper.from_array(np.array(values, dtype), name)


def model(nodes, shape=("batch", 4), made=("batch", 4), constants=(), name="x", **changes):
    """A model that reads `x` and gives `y`."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value(name, FLOAT, shape)], [value("y", FLOAT, made)], list(constants))
    made = helper.make_model(graph, **{"opset_imports": [helper.make_opsetid("", 13)], "ir_version": 7, **changes})
    return made


def good():
    """x * w + b, and what it takes."""
    weights = [constant("w", np.ones((4, 4))), constant("b", np.ones(4))]
    return model([node("Gemm", ["x", "w", "b"], ["v"], alpha=1.0), node("Relu", ["v"], ["y"])], constants=weights)


def refused(content, words):
    content = content if isinstance(content, bytes) else content.SerializeToString()
    with pytest.raises(GraphError, match=words) as caught:
        check_graph(content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 200


def altered(change):
    """The good model after a change."""
    made = good()
    change(made)
    return made


def test_a_plain_model_passes_in_every_form_of_its_bytes(tmp_path):
    content = good().SerializeToString()
    (tmp_path / "a.onnx").write_bytes(content)
    with open(tmp_path / "a.onnx", "rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        for given in (content, bytearray(content), memoryview(content), mapped):
            assert check_graph(given) is None
        mapped.close()  # nothing of it was kept


# --- What a model may not hold.


def external(tensor):
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def in_memory(tensor):  # as ONNX Runtime marks tensors that lie at an address
    tensor.external_data.add(key="location", value="*/_ORT_MEM_ADDR_/*")


INPUTS = node("Concat", ["x"] * 60, ["z"], axis=1)


def of_a_node(made, **attributes):
    made.graph.node[1].CopyFrom(node("Relu", ["v"], ["y"], **attributes))


def nested():
    return good().graph


HOLDS = {
    "external data": (lambda m: external(m.graph.initializer[0]), "the tensor 'w' lies in another file"),
    "memory addresses": (lambda m: in_memory(m.graph.initializer[0]), "the tensor 'w' lies in another file"),
    "external data in an attribute": (
        lambda m: of_a_node(m, value=onnx.TensorProto(data_location=1)),
        "Relu attribute",
    ),
    "a sparse tensor": (lambda m: m.graph.sparse_initializer.add(), "sparse tensors"),
    "a graph in a node": (lambda m: of_a_node(m, body=nested()), "Relu attribute"),
    "graphs in a node": (lambda m: of_a_node(m, bodies=[nested(), nested()]), "Relu attribute"),
    "functions": (lambda m: m.functions.add(name="Relu", domain="own"), "functions"),
    "training": (lambda m: m.training_info.add(), "training"),
    "metadata": (lambda m: m.metadata_props.add(key="ort_config", value="{}"), "metadata"),
    "quantisation notes": (lambda m: m.graph.quantization_annotation.add(), "quantisation notes"),
    "a name that leads elsewhere": (lambda m: setattr(m.graph, "name", "../../engines/a"), "name is not plain"),
    "two domains": (lambda m: m.opset_import.add(domain="com.microsoft", version=1), "2 domains"),
    "no domain": (lambda m: m.ClearField("opset_import"), "0 domains"),
    "another domain": (lambda m: setattr(m.opset_import[0], "domain", "com.microsoft"), "domain 'com.microsoft'"),
    "an old opset": (lambda m: setattr(m.opset_import[0], "version", 12), "opset is not one of 13 to 17"),
    "a new opset": (lambda m: setattr(m.opset_import[0], "version", 18), "opset is not one of 13 to 17"),
    "another IR version": (lambda m: setattr(m, "ir_version", 3), "IR version"),
    "no graph": (lambda m: m.ClearField("graph"), "cut off"),
    "a node of a domain": (lambda m: setattr(m.graph.node[1], "domain", "own"), "operator 'Relu'"),
    "a segment": (lambda m: m.graph.initializer[0].segment.SetInParent(), "segments"),
    "strings": (lambda m: m.graph.initializer.append(helper.make_tensor("s", 8, [1], [b"a"])), "strings"),
    "a double": (lambda m: m.graph.initializer.append(constant("d", 1.0, np.float64)), "'d' is of a type"),
    "an int32": (lambda m: m.graph.initializer.append(constant("d", 1, np.int32)), "'d' is of a type"),
    "a wrong length": (lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"), r"'w' does not hold \(4, 4\)"),
    "16 TB": (lambda m: m.graph.initializer[0].dims.extend([2**20, 2**20]), "'w' does not hold"),
    "a product that overflows": (lambda m: m.graph.initializer[0].dims.extend([2**30] * 4), "'w' does not hold"),
    "a negative dimension": (lambda m: m.graph.initializer[0].dims.__setitem__(0, -4), "the shape"),
    "an empty dimension": (lambda m: m.graph.initializer[0].dims.append(0), "the shape"),
    "nine dimensions": (lambda m: m.graph.initializer[0].dims.extend([1] * 7), "the shape"),
    "data in the wrong place": (lambda m: m.graph.initializer[0].int32_data.append(1), "'w' does not hold"),
    "a tensor twice": (lambda m: m.graph.initializer.append(constant("w", np.ones(4))), "the value 'w' twice"),
    "a value given twice": (lambda m: m.graph.node.append(node("Relu", ["v"], ["y"])), "the value 'y' twice"),
    "an input that is a tensor": (lambda m: setattr(m.graph.input[0], "name", "w"), "the value 'w' twice"),
    "a value without a name": (lambda m: m.graph.node.append(node("Relu", ["v"], [""])), "the value '' twice"),
    "nodes out of order": (lambda m: m.graph.node.reverse(), "Relu 'y': nothing before it gives 'v'"),
    "a cycle": (lambda m: m.graph.node[0].input.__setitem__(0, "y"), "nothing before it gives 'y'"),
    "an output that nothing gives": (lambda m: setattr(m.graph.output[0], "name", "z"), "'z' is not of the type"),
    "an output of another shape": (
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 5),
        "'y' is not of the type and shape",
    ),
    "an output of another type": (
        lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 11),
        "'y' is not of the type and shape",
    ),
    "the same output twice": (lambda m: m.graph.output.append(m.graph.output[0]), "an output twice"),
    "notes of another shape": (
        lambda m: m.graph.value_info.append(helper.make_tensor_value_info("v", FLOAT, [2**40])),
        r"the shape \(1099511627776\)",
    ),
    "an input of whole numbers": (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7), "not float32"),
    "a sequence": (lambda m: m.graph.input[0].type.sequence_type.SetInParent(), "a type with"),
    "an input without a shape": (lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"), "without a type"),
    "a huge input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2**30),
        "the input 'x' is too large",
    ),
    "a free second dimension": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_param", "n"),
        "a free dimension other than its first",
    ),
    "a long name": (lambda m: setattr(m.graph.initializer[0], "name", "w" * 2000), "a name of 2000 bytes"),
    "too many nodes": (lambda m: [m.graph.node.add() for _ in range(MANY)], "more than 10000"),
    "nodes with too many inputs": (lambda m: [m.graph.node.extend([INPUTS] * 1000)], "more than 50000 inputs"),
    "an attribute twice": (lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0]), "alpha twice"),
    "an attribute of another kind": (
        lambda m: setattr(m.graph.node[0].attribute[0], "type", 2),
        "the attribute 'alpha'",
    ),
    "a strange attribute": (lambda m: of_a_node(m, strange=1), "Relu with the attribute 'strange'"),
    "what an attribute refers to": (lambda m: setattr(m.graph.node[0].attribute[0], "ref_attr_name", "a"), "attribute"),
    "inputs left out": (lambda m: m.graph.node[0].input.__setitem__(1, ""), "nothing before it gives ''"),
    "two outputs of one": (lambda m: m.graph.node[1].output.append("z"), "Relu 'y': 2 outputs"),
}


@pytest.mark.parametrize("what", HOLDS)
def test_what_no_export_writes_is_refused(what):
    change, words = HOLDS[what]
    refused(altered(change), words)


@pytest.mark.parametrize(
    "operator",
    ["If", "Loop", "Scan", "SequenceMap", "SequenceAt", "Optional", "StringNormalizer", "ConstantOfShape", "Constant"]
    + ["Tile", "Range", "OneHot", "NonZero", "Resize", "Upsample", "RandomNormal", "Shape", "Einsum", "TopK", "Foo"],
)
def test_operators_outside_the_list_are_refused_by_name(operator):
    refused(model([node(operator, ["x"], ["y"])]), f"the operator '{operator}', which no bundle may hold")


def test_names_are_shown_on_one_line_without_control_characters():
    with pytest.raises(GraphError) as caught:
        check_graph(model([node("\x1b[2J\nLoop", ["x"], ["y"])]).SerializeToString())
    assert str(caught.value) == r"the operator '\x1b[2J\nLoop', which no bundle may hold"


# --- Shapes.

SMALL_MAP = ("batch", 4, 8, 8)
WEIGHT = constant("w", np.ones((4, 4, 3, 3)))


def conv(**attributes):
    return model([node("Conv", ["x", "w"], ["y"], **attributes)], SMALL_MAP, SMALL_MAP, [WEIGHT])


def chain(operators, shape=("batch", 4), made=("batch", 4), constants=()):
    """Nodes of one input each but for constants, one behind the other."""
    nodes = []
    for i, (operator, *others) in enumerate(operators):
        attributes = others.pop() if others and isinstance(others[-1], dict) else {}
        source, target = f"v{i - 1}" if i else "x", f"v{i}" if i < len(operators) - 1 else "y"
        nodes.append(node(operator, [source if other is None else other for other in others or [None]], [target]))
        nodes[-1].attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return model(nodes, shape, made, constants)


def ints(name, values):
    return constant(name, values, np.int64)


TOO_MUCH = {
    "doubling": (chain([("Concat", None, None, {"axis": 1})] * 40), "Concat .* too large"),
    "huge borders": (conv(pads=[2**14] * 4), "Conv 'y': too large"),
    "borders beyond": (conv(pads=[2**31] * 4), "pads is beyond 65536"),
    "negative borders": (conv(pads=[-1] * 4), "its pads are"),
    "no stride": (conv(strides=[0, 1]), "its strides are"),
    "a window that does not fit": (conv(dilations=[9, 9]), "windows do not fit"),
    "channels that do not fit": (conv(group=2), r"weights \(4, 4, 3, 3\) on \(N, 4, 8, 8\)"),
    "no groups": (conv(group=0), "weights"),
    "another kernel": (conv(kernel_shape=[5, 5]), "its kernel is not that of its weights"),
    "a broadcast": (
        chain([("Mul", None, "b")], (2**14, 1), (2**14, 2**14), [constant("b", np.ones((1, 2**14)))]),
        r"Mul 'y': too large, \(16384, 16384\)",
    ),
    "a broadcast of videos": (
        chain([("Reshape", None, "a"), ("Add", None, "x")], ("batch", 4), ("batch", 4), [ints("a", [-1, 1, 4])]),
        "too large",
    ),
    "an outer product": (
        chain([("MatMul", None, "b")], (2**14, 1), (2**14, 2**14), [constant("b", np.ones((1, 2**14)))]),
        "MatMul 'y': too large",
    ),
    "matrices without number": (
        chain([("MatMul", None, None)] * 200, (1, 2**18, 2, 2), (1, 2**18, 2, 2)),
        "computes too much",
    ),
    "work without end": (
        chain([("Softmax", None)] * 300, (1, 2**20), (1, 2**20)),
        "computes too much",
    ),
    "wide windows": (
        chain([("MaxPool", None, {"kernel_shape": [801, 801], "pads": [400] * 4})], (1, 4, 900, 900), (1, 4, 900, 900)),
        "computes too much",
    ),
    "many large values": (
        model(
            [node("Relu", ["x"], [f"v{i}"]) for i in range(9)] + [node("Max", [f"v{i}" for i in range(9)], ["y"])],
            (1, 2**24),
            (1, 2**24),
        ),
        "too many numbers are in use",
    ),
    "weights that all share": (
        chain([("Conv", None, "w")] * 12, (1, 512, 4, 4), (1, 512, 4, 4), [constant("w", np.ones((512, 512, 1, 1)))]),
        "too many nodes share their weights",
    ),
    "constants that grow": (
        model(
            [
                node("Mul", ["a", "b"], ["c"]),
                node("ReduceMax", ["c"], ["d"], axes=[0], keepdims=0),
                node("Add", ["x", "d"], ["y"]),
            ],
            (1, 2048),
            (1, 2048),
            [constant("a", np.ones((2048, 1))), constant("b", np.ones((1, 2048)))],
        ),
        "too many nodes share",
    ),
    "an expansion": (chain([("Expand", None, "a")], (1, 1), (1, 1), [ints("a", [2**40])]), "too large"),
    "repeated indices": (
        chain([("Gather", None, "a", {"axis": 1})] * 5, (1, 4), (1, 4), [ints("a", np.zeros((32, 32)))]),
        "too large",
    ),
    "an index out of range": (chain([("Gather", None, "a", {"axis": 1})], constants=[ints("a", [4])]), "not among 4"),
    "an index far below": (chain([("Gather", None, "a", {"axis": 1})], constants=[ints("a", -5)]), "not among 4"),
    "an index of videos": (
        chain([("Gather", None, "a", {"axis": 0})], constants=[ints("a", [0])]),
        "no bundle may hold",
    ),
    "computed sizes": (chain([("Reshape", None, None)]), "sizes or axes are not stored"),
    "another number of values": (chain([("Reshape", None, "a")], constants=[ints("a", [-1, 3])]), r"to \(N, 3\)|from"),
    "one video only": (chain([("Reshape", None, "a")], constants=[ints("a", [1, 4])]), "from"),
    "videos in one row": (chain([("Flatten", None, {"axis": 0})]), "from"),
    "videos elsewhere": (chain([("Transpose", None, {"perm": [1, 0]})]), "too large"),
    "some of the videos": (chain([("Slice", None, "a", "b")], constants=[ints("a", [0]), ints("b", [1])]), "videos"),
    "videos added up": (chain([("Concat", None, None, {"axis": 0})]), "do not fit"),
    "a slice of nothing": (
        chain([("Slice", None, "a", "b", "c")], constants=[ints("a", [3]), ints("b", [3]), ints("c", [1])]),
        "takes nothing",
    ),
    "steps of the smallest number": (
        chain(
            [("Slice", None, "a", "b", "c", "d")], constants=[ints(n, [v]) for n, v in zip("abcd", (0, 4, 1, -(2**63)))]
        ),
        "do not fit",
    ),
    "axes out of range": (chain([("Softmax", None, {"axis": 7})]), "axis 7 of 2"),
    "axes without number": (chain([("ReduceMean", None, {"axes": [1] * 900})]), r"its axes are \[1, .*\.\.\.$"),
    "an axis twice": (chain([("ReduceMean", None, {"axes": [1, -1]})]), "its axes are"),
    "whole numbers computed": (
        model([node("Add", ["a", "a"], ["b"]), node("Relu", ["x"], ["y"])], constants=[ints("a", [1])]),
        "not all of one type",
    ),
    "whole numbers made": (
        model([node("Cast", ["x"], ["i"], to=INT64), node("Cast", ["i"], ["y"], to=FLOAT)]),
        "Cast 'i': computes integers",
    ),
    "indices computed": (
        model(
            [node("Cast", ["x"], ["i"], to=INT64), node("Gather", ["w", "i"], ["y"])],
            ("batch",),
            ("batch", 4),
            [constant("w", np.ones((9, 4)))],
        ),
        "computes integers",
    ),
    "halves and wholes": (
        model([node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("Add", ["x", "h"], ["y"])]),
        "not all of one type",
    ),
    "unsigned zero points": (
        model([node("QuantizeLinear", ["x", "s"], ["q"]), node("Relu", ["x"], ["y"])], constants=[constant("s", 1)]),
        "QuantizeLinear 'q': 2 inputs",
    ),
    "bounds that are vectors": (
        chain([("Clip", None, "b")], constants=[constant("b", [0, 1, 2, 3])]),
        "single numbers",
    ),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_shapes_that_do_not_follow_and_work_without_bounds_are_refused(what):
    content, words = TOO_MUCH[what]
    refused(content, words)


def picking(frames, source="position", axis=0):
    """Weights of which each frame has its own."""
    nodes = [node("Squeeze", [source, "one"], ["p"]), node("Cast", ["p"], ["i"], to=TensorProto.INT32)]
    nodes.append(node("Gather", ["w", "i"], ["y"], axis=axis))
    constants = [ints("one", [1]), constant("w", np.ones((frames, 4)))]
    return model(nodes, ("batch", 1), ("batch", 4), constants, name="position").SerializeToString()


def test_the_frames_number_may_pick_weights_of_as_many_frames():
    check_graph(picking(10))
    check_graph(picking(10), frames=10)
    with pytest.raises(GraphError, match="Gather 'y': holds weights of 10 frames, a video has 11"):
        check_graph(picking(10), frames=11)


def test_a_number_made_of_the_frames_number_may_not():
    made = onnx.load_from_string(picking(10))
    made.graph.node.insert(0, node("Mul", ["position", "position"], ["square"]))
    made.graph.node[1].input[0] = "square"
    refused(made, "computes integers")
    made = onnx.load_from_string(picking(10))
    made.graph.node[2].attribute[0].i = 1
    refused(made, "Gather 'y'")


# --- Bytes.


def field(number, kind, content):
    """A field of a message."""
    return varint(8 * number + kind) + (varint(len(content)) + content if kind == 2 else content)


def varint(value):
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    return bytes([*made, value])


OPSET = field(8, 2, b"\x10\x0d")


def of_tensor(behind=b"", dims=b"\x08\x01"):
    """A model with one tensor, `w`, and something behind its fields."""
    tensor = dims + b"\x10\x01" + field(8, 2, b"w") + field(9, 2, bytes(4)) + behind
    return b"\x08\x07" + field(7, 2, field(5, 2, tensor)) + OPSET


BYTES = {
    "nothing": (b"", "cut off"),
    "no protobuf": (b"PK\x03\x04 and so on", "no bundle may hold|cut off"),
    "half": (good().SerializeToString()[:-20], "cut off"),
    "a group": (b"\x0b" + good().SerializeToString(), "a model with a field 1 of kind 3"),
    "an endless number": (b"\x08" + b"\xff" * 20, "more than ten bytes"),
    "a number of 70 bits": (b"\x08" + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
    "an endless tag": (b"\xff" * 20, "more than ten bytes"),
    "field 0": (b"\x00\x00" + good().SerializeToString(), "field 0"),
    "an unknown field": (good().SerializeToString() + field(99, 2, b"a"), "field 99"),
    "two graphs": (good().SerializeToString() + field(7, 2, b""), "out of order, or one twice"),
    "the graph twice": (field(7, 2, b"") + field(7, 2, b"") + field(8, 2, b""), "one twice"),
    "a length of 2 GiB": (b"\x08\x07\x3a" + varint(2**31), "cut off"),
    "a length of 2^63": (b"\x08\x07\x3a" + varint(2**63), "cut off"),
    "a name that is no text": (good().SerializeToString().replace(b"Relu", b"Re\xffu"), "not UTF-8"),
    "a place that wraps around to none": (of_tensor(b"\x70" + varint(2**32)), "another file"),
    "a size that wraps around to 1": (of_tensor(dims=b"\x08" + varint(2**64 + 1)), "more than 64 bits"),
}


@pytest.mark.parametrize("what", BYTES)
def test_bytes_that_are_no_model_are_refused(what):
    refused(*BYTES[what])


def test_a_model_cut_anywhere_is_refused():
    content = good().SerializeToString()
    for end in range(len(content)):
        with pytest.raises(GraphError):
            check_graph(content[:end])


def test_a_millionfold_repetition_is_refused_before_it_fills_the_memory():
    refused(b"\x08\x07" + field(7, 2, b"\x0a\x00" * 10**6) + OPSET, "more than 10000")


# --- What exports write.


def graphs_of(path):
    bundle = Bundle.open(path)
    return {name: bundle.read_file(name) for name in bundle.manifest["files"] if name.endswith(".onnx")}


@pytest.mark.parametrize("kind", ["sample_bundle", "exported"])
def test_every_graph_of_a_bundle_passes(kind, request):
    graphs = graphs_of(request.getfixturevalue(kind))
    assert len(graphs) >= 8
    for content in graphs.values():
        check_graph(content)


PARTS = {
    "heads of each frame": {"heads": "per_frame", "gate": "eg", "neck": 24},
    "temporal shift": {"backbone": "mobilenetv2_tsm"},
    "attention": {"frm": "attention"},
    "moving average": {"branch": "fc", "frm": "ema"},
    "sum": {"frm": "add", "gate": "none"},
}


@pytest.mark.parametrize("kind", [name if i < 2 else pytest.param(name, marks=FULL) for i, name in enumerate(PARTS)])
def test_every_kind_of_part_passes(kind):
    made = small_model(model={**SMALL["model"], "branches": 1, **PARTS[kind]})
    graphs = {segment.name: to_onnx(segment) for segment in segment_modules(made)}
    names = [name for name in ("branch0", "neck", "frm", "head", "gate") if name in graphs]
    for graph in [*graphs.values(), compose("exit0", names, graphs)]:
        check_graph(graph.SerializeToString(), frames=4)


def test_the_list_and_the_opsets_are_those_that_some_target_has():
    lists = json.loads((Path(targets.__file__).parent / "tensorrt_operators.json").read_text(encoding="utf-8"))
    assert set(OPERATORS) <= set(lists["8.5"])
    for newest in targets.MAX_OPSET.values():
        check_graph(altered(lambda m, newest=newest: setattr(m.opset_import[0], "version", newest)).SerializeToString())


# --- Mutations.


@pytest.mark.parametrize("count", MUTATIONS)
def test_of_mutated_graphs_what_passes_runs_within_bounds(exported, count, tmp_path):
    """In a process that ends after 10 seconds of one graph, or at 2 GB."""
    contents = sorted(graphs_of(exported).items())
    rng, passed = random.Random(count), 0
    for i in range(count):
        name, content = contents[i % len(contents)]
        mutated = (of_bytes if rng.random() < 0.6 else of_fields)(content, rng)
        try:
            check_graph(mutated)
        except GraphError as error:
            assert "\n" not in str(error)
            continue
        passed += 1
        (tmp_path / f"{i:05}.onnx").write_bytes(mutated)
    assert 0 < passed < count / 2
    if count > 500:
        done = subprocess.run([sys.executable, RUN, tmp_path], capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, (done.stdout.splitlines()[-1:], done.stderr[-2000:])
        assert len(done.stdout.splitlines()) == passed


def of_bytes(content, rng):
    """Some bytes that are not a large tensor's changed, left out, put in, or taken from elsewhere."""
    mutated, places = bytearray(content), structure(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = min(rng.choice(places), len(mutated) - 1)
        kind, size = rng.randrange(6), rng.randrange(1, 12)
        if kind == 0:
            mutated[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            mutated[at] = rng.randrange(256)
        elif kind == 2:
            del mutated[at : at + size]
        elif kind == 3:
            mutated[at:at] = bytes(rng.randrange(256) for _ in range(size))
        elif kind == 4:
            mutated[at : at + 1] = varint(rng.choice((0, 127, 2**16, 2**31, 2**32 + 1, 2**63, 2**64 - 1)))
        else:
            other = rng.choice(places)
            mutated[at : at + size] = content[other : other + size]
    return bytes(mutated)


def structure(content):
    """Where bytes of a graph lie that are not a large tensor's data."""
    places, at = [], 0
    for tensor in onnx.load_from_string(content).graph.initializer:
        if len(tensor.raw_data) > 32:
            start = content.index(tensor.raw_data, at if content.find(tensor.raw_data, at) >= 0 else 0)
            places += range(at, start)
            at = max(at, start + len(tensor.raw_data))
    return places + list(range(at, len(content)))


def of_fields(content, rng):
    """One or two fields changed to something else that is well formed."""
    mutated = onnx.load_from_string(content)
    for _ in range(rng.choice((1, 1, 2))):
        rng.choice((other_operator, other_attribute, other_input, other_shape, other_numbers, other_order))(
            mutated, rng
        )
    return mutated.SerializeToString()


NUMBERS = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 1000, 2**16, 2**31, 2**62)


def other_operator(mutated, rng):
    rng.choice(mutated.graph.node).op_type = rng.choice(sorted(OPERATORS))


def other_attribute(mutated, rng):
    attributes = [a for n in mutated.graph.node for a in n.attribute if a.type in (2, 7)]
    if attributes:
        attribute = rng.choice(attributes)
        if attribute.type == 2:
            attribute.i = rng.choice(NUMBERS)
        else:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)


def other_input(mutated, rng):
    chosen = rng.choice(mutated.graph.node)
    names = [name for n in mutated.graph.node for name in (*n.input, *n.output)]
    chosen.input[rng.randrange(len(chosen.input))] = rng.choice(names)


def other_shape(mutated, rng):
    if mutated.graph.initializer:
        tensor = rng.choice(mutated.graph.initializer)
        if len(tensor.dims) > 1:
            sizes = list(tensor.dims)
            rng.shuffle(sizes)
            tensor.dims[:] = sizes


def other_numbers(mutated, rng):
    tensors = [tensor for tensor in mutated.graph.initializer if tensor.raw_data]
    if tensors:
        tensor = rng.choice(tensors)
        array = numpy_helper.to_array(tensor).copy()
        array.flat[rng.randrange(array.size)] = rng.choice((0, -1, 1, 100))
        tensor.raw_data = array.tobytes()


def other_order(mutated, rng):
    nodes = list(mutated.graph.node)
    i, j = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    nodes[i], nodes[j] = nodes[j], nodes[i]
    del mutated.graph.node[:]
    mutated.graph.node.extend(nodes)
