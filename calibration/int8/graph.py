"""A segment's ONNX graph as calibration sees it: operations with weights, and what gives and takes each tensor."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator

import onnx
from onnx import NodeProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
Q, DQ = "QuantizeLinear", "DequantizeLinear"


class Graph:
    """A graph with the producers and users of its tensors.

    Args:
        floats: names of operations with weights that are to stay in float; they do not count as weighted.
    """

    def __init__(self, graph: onnx.GraphProto, floats: Collection[str] = ()) -> None:
        self.nodes, self._floats = list(graph.node), frozenset(floats)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.users: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.users[name].append(node)

    def dequantised(self, name: str) -> bool:
        return name in self.producer and self.producer[name].op_type == DQ

    def before_pair(self, name: str) -> str:
        """The tensor that a Q/DQ pair makes this one of, itself where there is none."""
        for operator in (DQ, Q):
            if name in self.producer and self.producer[name].op_type == operator:
                name = self.producer[name].input[0]
        return name

    def has_weights(self, node: NodeProto) -> bool:
        """Whether it is a convolution or linear layer with constant weights."""
        return node.op_type in WEIGHTED and self.before_pair(node.input[1]) in self.constants

    def is_weighted(self, node: NodeProto) -> bool:
        """Whether it is one that is to compute in INT8."""
        return self.has_weights(node) and node.name not in self._floats

    def residuals(self) -> Iterator[tuple[NodeProto, str]]:
        """Additions to what a weighted operation gives, each with its other input, the skip. None to one in float: what
        it gives is not fused with the addition.

        Where an operation with weights gives both, as in a ResNet's block with downsampling, the skip is the one with
        fewer of them behind it.
        """
        depth: dict[str, int] = defaultdict(int)  # weighted operations behind each tensor, on the longest path
        for node in self.nodes:
            behind = max((depth[name] for name in node.input), default=0) + self.has_weights(node)
            depth.update(dict.fromkeys(node.output, behind))
        for node in self.nodes:
            sides = sorted(node.input, key=lambda name: depth[self.before_pair(name)])
            if node.op_type != "Add" or any(self.before_pair(name) in self.constants for name in sides):
                continue
            producers = [self.producer.get(self.before_pair(name)) for name in sides]
            weights = [producer is not None and self.has_weights(producer) for producer in producers]
            if any(weights):
                skip = 0 if weights[1] else 1
                producer = producers[1 - skip]
                if producer is not None and self.is_weighted(producer):
                    yield node, sides[skip]


def macs_by_layer(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates for one video of each convolution and linear layer, by the node's name, as
    `tlee.export.segments.count_macs` counts them."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    sizes = {v.name: math.prod(size.dim_value or 1 for size in v.type.tensor_type.shape.dim) for v in values}
    graph, found = Graph(model.graph), {}
    for node in filter(graph.has_weights, graph.nodes):
        dims = graph.constants[graph.before_pair(node.input[1])].dims
        if node.op_type == "ConvTranspose":
            found[node.name] = sizes[node.input[0]] * math.prod(dims[1:])
        elif node.op_type == "Conv":
            found[node.name] = sizes[node.output[0]] * math.prod(dims[1:])
        else:
            across = dims[1] if attribute(node, "transB", 0) else dims[-2]
            found[node.name] = sizes[node.output[0]] * across
    return found


def attribute(node: NodeProto, name: str, default: int) -> int:
    """A node's attribute that is a whole number."""
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
