"""Whether a device accepts a segment: its TensorRT's operators, by JetPack, and what `tlee.graphs` admits."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
from onnx import TensorProto

from tlee.errors import UsageError
from tlee.graphs import GraphError, check_graph

# The newest list there is holds for later releases too: their parsers take all of it and more.
TARGETS = {"jetpack4": "8.2", "jetpack5": "8.5", "jetpack6": "8.5", "workstation": "8.5"}
DEFAULT_TARGET = "jetpack4"  # what it accepts, all others accept
VARIANTS = ("fp16",)  # precisions besides float32 that can be made without videos
MAX_OPSET = {"8.2": 13, "8.5": 17}
# By release, the operators that its parser accepts, with their types.
OPERATORS: dict[str, dict[str, list[str]]] = json.loads(
    Path(__file__).with_name("tensorrt_operators.json").read_text(encoding="utf-8")
)
# TensorRT reads 64-bit integers as 32-bit ones.
TYPES: dict[int, str] = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT32",
    TensorProto.BOOL: "BOOL",
}
COMPARISONS = ("Greater", "Less", "Equal")  # listed with the types that they compare
REMEDIES = {
    "HardSwish": "write it as x * relu6(x + 3) / 6",
    "LayerNormalization": "write it with mean and variance",
    "GroupNormalization": "use batch norm",
    "Resize": "give it fixed scales",
}
REPLACE = "replace that layer of the model"
NEWER = "export for a newer JetPack with --target"
REPLACE_OR_NEWER = f"{REPLACE}, or export for a newer JetPack with --target"


def check_operators(name: str, model: onnx.ModelProto, target: str) -> None:
    """Refuse a model that the target's TensorRT cannot parse, or that no device would open.

    Args:
        name: of the segment or fused exit.
        target: a key of `TARGETS`.

    Raises:
        UsageError: an operator, one of its types, or the opset is not supported, or a shape does not follow from those
            of the inputs; names segment, node and operator.
    """
    subject = f"{'fused exit' if name.startswith('exit') else 'segment'} {name}"
    release, operators = TARGETS[target], OPERATORS[TARGETS[target]]
    opset = max(entry.version for entry in model.opset_import if entry.domain == "")
    if opset > MAX_OPSET[release]:
        problem = f"opset {opset}, TensorRT {release} ({target}) reads up to {MAX_OPSET[release]}"
        raise UsageError(subject, problem, NEWER)
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    for node in model.graph.node:
        called = node.name or node.output[0]
        if node.domain or node.op_type not in operators:
            problem = f"node '{called}' is a {node.op_type}, which TensorRT {release} ({target}) does not have"
            raise UsageError(subject, problem, REMEDIES.get(node.op_type, REPLACE_OR_NEWER))
        typed = node.input[0] if node.op_type in COMPARISONS else node.output[0]
        found = TYPES.get(types.get(typed, TensorProto.FLOAT), "another type")
        if found not in operators[node.op_type]:
            problem = (
                f"node '{called}' is a {node.op_type} of {found}, which TensorRT {release} ({target}) does not take"
            )
            raise UsageError(subject, problem, "let the model compute in float32")
    try:
        check_graph(model.SerializeToString())
    except GraphError as error:
        raise UsageError(subject, error, REPLACE) from None
