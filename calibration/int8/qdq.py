"""INT8 in the ONNX model itself: Q/DQ pairs where TensorRT wants them, and the check that they stand there.

The rules are those of NVIDIA's TensorRT developer guide, "Q/DQ layer-placement recommendations".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper
from onnxruntime.quantization.calibrate import TensorData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from tlee.bundle import Bundle
from tlee.calibration.int8.cache_file import write_cache
from tlee.calibration.int8.graph import DQ, WEIGHTED, Graph, Q, attribute
from tlee.export.fused_exits import compose, value_names

CACHE_RELEASE = "8.2.1"  # of TensorRT, in a cache's header; a device's build puts its own there


class Int8Graph(NamedTuple):
    """A segment or fused exit in INT8."""

    model: bytes  # ONNX with Q/DQ pairs
    ranges: dict[str, float]  # largest magnitude by tensor
    given: int = 0  # sets of inputs that the tuning videos gave the segment
    samples: int = 0  # sets of inputs that the ranges are of

    def cache(self) -> bytes:
        """Its calibration cache."""
        return write_cache({name: largest / 127 for name, largest in self.ranges.items()}, CACHE_RELEASE)


def quantised(model: bytes, ranges: Mapping[str, float], floats: Collection[str] = ()) -> bytes | None:
    """An ONNX model with explicit INT8 quantisation, for TensorRT 8.0 and later; None where no operation has weights.

    Every convolution and linear layer with constant weights reads its input and its weights through a pair of
    QuantizeLinear and DequantizeLinear: int8, symmetric, the input per tensor, the weights, still stored in float32,
    per output channel. Bias and output stay as they are, so that TensorRT fuses what follows. A residual addition
    reads its skip through a pair, too: then it is fused into the convolution before it.

    Interface, opset and IR version are those of the model.

    Args:
        ranges: largest magnitude of each tensor, as `tlee.calibration.int8.ranges.tensor_ranges` gives it.
        floats: operations, by their names, that stay as they are.

    Raises:
        ValueError: a tensor to quantise has no range.
    """
    result = onnx.load_from_string(model)
    _unshare_weights(result.graph)
    graph = Graph(result.graph, floats)
    weighted = [node.name for node in graph.nodes if graph.is_weighted(node)]
    if not weighted:
        return None
    quantiser = QDQQuantizer(
        result,
        per_channel=True,
        reduce_range=False,
        weight_qType=TensorProto.INT8,
        activation_qType=TensorProto.INT8,
        tensors_range={n: TensorData(lowest=np.float32(-r), highest=np.float32(r)) for n, r in ranges.items()},
        nodes_to_quantize=weighted,
        nodes_to_exclude=[],
        op_types_to_quantize=WEIGHTED,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,  # as NVIDIA's own tools do; every release since 8.0 takes it
            "OpTypesToExcludeOutputQuantization": WEIGHTED,
        },
    )
    for _, skip in graph.residuals():
        quantiser.quantize_activation_tensor(skip)
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    result.graph.CopyFrom(quantiser.model.graph())  # of the rest nothing: the quantiser signs it
    paired = Graph(result.graph)
    for node in paired.nodes:
        if node.name in floats:  # what it reads may have a pair for others
            node.input[:] = [paired.before_pair(name) for name in node.input]
    return result.SerializeToString()


def misplaced(model: bytes, floats: Collection[str] = ()) -> list[str]:
    """Where the pairs of a quantised model break the rules of `quantised`, a sentence each; empty where nowhere."""
    graph = Graph(onnx.load_from_string(model).graph, floats)
    return [*_wrong_numbers(graph), *_wrong_inputs(graph), *_wrong_skips(graph), *_needless_pairs(graph)]


def fused_exit_graphs(
    bundle: Bundle, graphs: Mapping[str, Int8Graph], excluded: Collection[str]
) -> dict[str, Int8Graph]:
    """INT8 graphs of the fused exits that have one of the segments `graphs`, but those `excluded`, in INT8; their other
    segments are in float32."""
    used = {name: graph for name, graph in graphs.items() if name not in excluded}
    made = {}
    for fused in bundle.fused_exits.values():
        quantised_parts = [name for name in fused.segments if name in used]
        if not quantised_parts:
            continue
        models = {name: used[name].model if name in used else bundle.read(name) for name in fused.segments}
        parts = {name: onnx.load_from_string(model) for name, model in models.items()}
        names = value_names({name: part.graph for name, part in parts.items()})
        ranges: dict[str, float] = {}
        for name in quantised_parts:
            for tensor, largest in used[name].ranges.items():
                own = names[name].get(tensor, f"{name}/{tensor}")
                ranges[own] = max(largest, ranges.get(own, 0))
        made[fused.name] = Int8Graph(compose(fused.name, fused.segments, parts).SerializeToString(), ranges)
    return made


def _unshare_weights(graph: onnx.GraphProto) -> None:
    """Give each operation weights of its own, as NVIDIA's Model Optimizer does before it quantises."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    seen = set()
    for node in graph.node:
        if node.op_type not in WEIGHTED or node.input[1] not in constants:
            continue
        name = node.input[1]
        if name in seen:
            node.input[1] = f"{name}_of_{node.name}"
            graph.initializer.add().CopyFrom(constants[name])
            graph.initializer[-1].name = node.input[1]
        seen.add(name)


def _wrong_numbers(graph: Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type in (Q, DQ):
            scale, zero = (graph.constants.get(name) for name in [*node.input, ""][1:3])
            values = numpy_helper.to_array(scale) if scale else np.zeros(1)
            if not np.all(np.isfinite(values) & (values > 0)):
                yield f"{node.name}: its scale is not constant, finite and above 0"
            # It may not be left out: that would mean uint8, and TensorRT 8 wants all three inputs.
            if not zero or zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero).any():
                yield f"{node.name}: its zero point is not an int8 0"


def _wrong_inputs(graph: Graph) -> Iterator[str]:
    for node in filter(graph.is_weighted, graph.nodes):
        activation, weights, *bias = node.input
        if not graph.dequantised(activation):
            yield f"{node.name}: its input {activation} is not quantised"
        if not graph.dequantised(weights):
            yield f"{node.name}: its weights are not quantised"
        elif not _is_per_channel(graph, node):
            yield f"{node.name}: its weights are not quantised per output channel"
        if bias and graph.dequantised(bias[0]):
            yield f"{node.name}: its bias is quantised"


def _is_per_channel(graph: Graph, node: NodeProto) -> bool:
    pair = graph.producer[node.input[1]]
    # The dimension of the weights that counts output channels.
    axis = 1 - attribute(node, "transB", 0) if node.op_type == "Gemm" else int(node.op_type != "Conv")
    channels = graph.constants[graph.before_pair(node.input[1])].dims[axis]
    scale = graph.constants.get(pair.input[1])
    return scale is not None and list(scale.dims) == [channels] and attribute(pair, "axis", 1) == axis


def _wrong_skips(graph: Graph) -> Iterator[str]:
    for node, skip in graph.residuals():
        if not graph.dequantised(skip):
            yield f"{node.name}: its skip {skip} is not quantised"
        for name in node.input:
            if name != skip and graph.dequantised(name):
                yield f"{node.name}: its input {name} is quantised, which keeps it out of the convolution before"


def _needless_pairs(graph: Graph) -> Iterator[str]:
    """Pairs that no weighted operation and no residual addition reads, such as behind a convolution before its ReLU."""
    skips = {skip for _, skip in graph.residuals()}
    for node in (node for node in graph.nodes if node.op_type == Q):
        read = [name for pair in graph.users[node.output[0]] for name in pair.output]
        users = [user for name in read for user in graph.users[name]]
        if not skips.intersection(read) and not any(graph.is_weighted(user) for user in users):
            yield f"{node.name}: nothing needs {node.input[0]} quantised"
