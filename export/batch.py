"""Graphs for any number of videos at once, of graphs that were exported for one."""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorShapeProto, ValueInfoProto

from tlee.bundle import BATCH
from tlee.errors import UsageError

SHARED = ("temperature",)  # inputs that are one for all videos


def free_batch(segment: str, model: ModelProto) -> None:
    """Call the first dimension of all inputs but `SHARED` and of all outputs `BATCH`, in place.

    The nodes stay as they are: none that our models consist of says how many videos there are.

    Raises:
        UsageError: a node does, such as a Reshape to a constant shape; names segment, node and operator.
    """
    graph = model.graph
    graph.ClearField("value_info")  # shapes for one video
    for value in graph.input:
        if value.name not in SHARED:
            _first(value).dim_param = BATCH
    for value in graph.output:
        _first(value).Clear()
    _check_nodes(segment, onnx.shape_inference.infer_shapes(model).graph)
    for value in graph.output:
        _first(value).dim_param = BATCH


def _check_nodes(segment: str, graph: onnx.GraphProto) -> None:
    """Whatever is given the batch has to hand it on: by what ONNX's shape inference knows, from node to node."""
    values = (*graph.input, *graph.value_info, *graph.output)
    free = {value.name for value in values if _first(value).dim_param == BATCH}
    for node in graph.node:
        if free.intersection(node.input) and not free.issuperset(node.output):
            problem = f"node '{node.name or node.output[0]}' is a {node.op_type} that computes for one video only"
            raise UsageError(f"segment {segment}", problem, "write that layer without a constant number of videos")


def _first(value: ValueInfoProto) -> TensorShapeProto.Dimension:
    dimensions = value.type.tensor_type.shape.dim
    return dimensions[0] if dimensions else TensorShapeProto.Dimension()
