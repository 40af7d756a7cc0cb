"""The ONNX parser. Sources: NVIDIA's Python API reference, Onnx Parser; onnx-tensorrt's docs/operators.md (as the table
that the exporter uses, of releases 8.2 and 8.5), its changelog, and ModelImporter.cpp for layers' names."""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import json
from pathlib import Path

from .log import ILogger, error, warn
from .shapes import shape_of
from .strict import RELEASE, NoConstructor, make, member

TABLE = Path(__file__).parents[4] / "export/tensorrt_operators.json"
# Of onnx.TensorProto, the numbers; the name of the type in TABLE and in DataType.
TYPES = {
    1: ("FP32", "FLOAT"),
    10: ("FP16", "HALF"),
    3: ("INT8", "INT8"),
    6: ("INT32", "INT32"),
    7: ("INT32", "INT64"),
    9: ("BOOL", "BOOL"),
}
DATA_INPUT = {"Where": 1}  # whose type counts, where it is not the first
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
LAYER_TYPES = {
    "CONVOLUTION": "Conv",
    "DECONVOLUTION": "ConvTranspose",
    "ACTIVATION": "Relu Sigmoid Tanh Clip LeakyRelu Elu Selu HardSigmoid Softplus Softsign ThresholdedRelu",
    "POOLING": "MaxPool AveragePool",
    "REDUCE": "GlobalAveragePool GlobalMaxPool ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd",
    "MATRIX_MULTIPLY": "MatMul Gemm",
    "SCALE": "BatchNormalization",
    "SOFTMAX": "Softmax",
    "CONCATENATION": "Concat",
    "SHUFFLE": "Reshape Transpose Flatten Squeeze Unsqueeze",
    "SLICE": "Slice Split Pad",
    "GATHER": "Gather GatherElements GatherND",
    "SELECT": "Where",
    "UNARY": "Sqrt Exp Log Abs Neg Erf Floor Ceil Not Reciprocal Round Sign Sin Cos",
    "TOPK": "TopK ArgMax ArgMin",
    "RESIZE": "Resize Upsample",
    "SHAPE": "Shape",
    "IDENTITY": "Identity Cast Dropout",
    "QUANTIZE": "QuantizeLinear",
    "DEQUANTIZE": "DequantizeLinear",
}


class ParserError(NoConstructor):
    """One reason why a model was refused."""

    __slots__ = ("_code", "_desc", "_node", "_name", "_op")

    def code(self):
        return self._code

    def desc(self) -> str:
        return self._desc

    def node(self) -> int:
        return self._node

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._op

    def file(self) -> str:
        return "ModelImporter.cpp"

    def line(self) -> int:
        return 0

    def func(self) -> str:
        return "parseGraph"

    def __str__(self) -> str:
        return f"In node {self._node} ({self.func()}): {self._code.name}: {self._desc}"


class Refused(Exception):
    """code, description, number of the node."""


class OnnxParser:
    """Fills a network, once."""

    __slots__ = ("_network", "_logger", "_errors")

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger, self._errors = network, logger, []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError | None:
        if 0 <= index < len(self._errors):
            return self._errors[index]
        error(self._logger, f"get_error({index}): there are {len(self._errors)} errors")
        return None

    def clear_errors(self) -> None:
        self._errors = []

    def parse(self, model: Buffer, path: str | None = None) -> bool:
        if self._network._layers:
            error(self._logger, "ModelImporter.cpp: Parse was called with a non-empty network definition")
            return False
        import onnx

        proto = None
        try:
            proto = read(bytes(model), self._network, self._logger)
            fill(self._network, proto)
        except Refused as refused:
            code, text, node = refused.args
            at = proto.graph.node[node] if proto is not None and node >= 0 else onnx.NodeProto()
            found = make(
                "ParserError", code=member("ErrorCode", code), desc=text, node=node, name=at.name, op=at.op_type
            )
            self._errors.append(found)
            error(self._logger, str(found))
            return False
        self._network._model = bytes(model)
        return True


def read(content: bytes, network, logger: ILogger):
    """The model, with the types of all its values, if the release's parser takes it.

    Raises:
        Refused: it does not.
    """
    import onnx

    if not network._explicit:
        text = "This version of the ONNX parser only supports networks with an explicit batch dimension"
        raise Refused("INVALID_VALUE", text, -1)
    try:
        model = onnx.load_from_string(content)
    except Exception:  # protobuf's, which are many
        raise Refused("MODEL_DESERIALIZE_FAILED", "Failed to parse the ONNX model", -1) from None
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
        raise Refused("INVALID_GRAPH", str(problem), -1) from None
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > RELEASE.opset:
        raise Refused("UNSUPPORTED_GRAPH", f"opset {opset} is newer than {RELEASE.opset}, the newest supported", -1)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    types = value_types(model.graph)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = next((a.t for a in node.attribute if a.name == "value"), None)
    operators = json.loads(TABLE.read_text(encoding="utf-8"))[RELEASE.operators]
    for number, node in enumerate(model.graph.node):
        check_node(number, node, types, constants, operators)
    if not RELEASE.int64 and 7 in types.values():
        warn(logger, "Your ONNX model has INT64 values, which TensorRT does not support. Casting down to INT32.")
    return model


def value_types(graph) -> dict[str, int]:
    """The number of each value's type."""
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return {**types, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def check_node(number: int, node, types: dict[str, int], constants: dict, operators: dict[str, list[str]]) -> None:
    supported = operators.get(node.op_type) or (["FP32", "FP16"] if node.op_type in RELEASE.more else None)
    if node.domain not in ("", "ai.onnx") or supported is None or any(a.HasField("g") for a in node.attribute):
        text = f"No importer registered for op: {node.op_type}. Plugin not found"
        raise Refused("UNSUPPORTED_NODE", text, number)
    if node.op_type in QUANTIZING:
        check_zero_point(number, node, constants)
        return
    at = DATA_INPUT.get(node.op_type, 0)
    data = node.output[0] if node.op_type == "ConstantOfShape" or len(node.input) <= at else node.input[at]
    found = TYPES.get(types.get(data, 1), (f"type {types.get(data)}",))[0]
    if found not in supported:
        raise Refused("UNSUPPORTED_NODE", f"{node.op_type} does not support {found}", number)
    for name in node.output:
        if name and types.get(name, 1) not in TYPES:
            raise Refused("UNSUPPORTED_NODE", f"{node.op_type} makes a type that there is not", number)


def check_zero_point(number: int, node, constants: dict) -> None:
    """Developer guide, Working with INT8: zero points are 0, of type int8."""
    import onnx

    if len(node.input) < 3 or not node.input[2]:
        raise Refused("INVALID_NODE", "without a zero point this is not INT8", number)
    tensor = constants.get(node.input[2])
    if tensor is None or tensor.data_type != onnx.TensorProto.INT8:
        raise Refused("UNSUPPORTED_NODE", "TensorRT only takes constant zero points of type INT8", number)
    if onnx.numpy_helper.to_array(tensor).any():
        raise Refused("INVALID_NODE", "TRT only supports symmetric quantization, zero points must be all zeros", number)


def fill(network, model) -> None:
    """A layer per node; constants are weights, no layers. A layer is called as its node, or node_of_ and its output."""
    graph = model.graph
    shapes = {v.name: shape_of(v) for v in (*graph.input, *graph.value_info, *graph.output)}
    types = value_types(graph)
    weights = {tensor.name for tensor in graph.initializer}
    tensors: dict[str, object] = {}

    def tensor(name: str, role: str | None = None):
        if name not in tensors:
            kind = TYPES.get(types.get(name, 1))
            if kind is None:
                raise Refused("UNSUPPORTED_NODE", f"the type of {name} is not supported", -1)
            data_type = member("DataType", "INT32" if kind[1] == "INT64" and not RELEASE.int64 else kind[1])
            shape = shapes.get(name, ())
            parts = {"shape": shape, "type": data_type, "role": role, "range": None, "network": network}
            tensors[name] = make("ITensor", name=name, onnx=name, **parts)
        return tensors[name]

    network._inputs = [tensor(v.name, "input") for v in graph.input if v.name not in weights]
    network._outputs = [tensor(v.name, "output") for v in graph.output]
    used: set[str] = set()
    kinds = {op: kind for kind, ops in LAYER_TYPES.items() for op in ops.split()}
    for node in graph.node:
        if node.op_type == "Constant":
            weights.update(node.output)
            continue
        name = basis = node.name or "node_of_" + node.output[0]
        while name in used:
            name = f"{basis}_{len(used)}"
        used.add(name)
        kind = kinds.get(node.op_type, "ELEMENTWISE")
        if node.op_type == "Cast" and has_layer_type("CAST"):
            kind = "CAST"
        network._layers.append(
            make(
                "ILayer",
                name=name,
                op=node.op_type,
                type=member("LayerType", kind),
                inputs=[tensor(i) for i in node.input if i and i not in weights],
                outputs=[tensor(o) for o in node.output if o],
                precision=None,
                wanted={},
                network=network,
                metadata=f"[ONNX Layer: {name}]",
            )
        )


def has_layer_type(name: str) -> bool:
    return name in RELEASE.types["LayerType"].__members__
