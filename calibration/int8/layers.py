"""What INT8 changes layer by layer: the means of outputs, which biases take back, and noise, by which plans are chosen.

Rounding weights and maps shifts what a convolution gives on average, and shifts add up from layer to layer. Biases,
which stay in full, take them back. Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", 2019, in the empirical form. Equalisation, the other half of that work, is left out: weights have a scale
per channel already, and factors for maps, which a ReLU6 has to cut at what the samples reached, changed answers more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from tlee.calibration.int8.graph import DQ, Graph, Q
from tlee.runtime.onnx_session import open_session, run_session

Values = dict[str, np.ndarray]


def shifts_by_layer(model: bytes, samples: Sequence[Values]) -> dict[str, np.ndarray]:
    """How much more each convolution and linear layer of a quantised model gives on average, (C,) by the node's name,
    if it alone does not round what the layers before it give in INT8.

    Args:
        samples: each with all inputs by name, float32; memory does not grow with them.
    """
    observed = onnx.load_from_string(model)
    graph = Graph(observed.graph)
    means = {node.name: _add_twin(observed.graph, graph, node) for node in _int8_layers(graph)}
    session = open_session(observed.SerializeToString())
    sums: dict[str, np.ndarray] = {}
    for sample in samples:
        found = run_session(session, observed.graph.name, list(means.values()), sample)
        sums = {layer: sums.get(layer, 0) + values for layer, values in zip(means, found)}
    return {layer: total / len(samples) for layer, total in sums.items()}


def corrected(model: bytes, shifts: Mapping[str, np.ndarray]) -> bytes:
    """A quantised model with such shifts added to the biases of its layers."""
    result = onnx.load_from_string(model)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    for node in result.graph.node:
        if node.name in shifts and node.op_type != "MatMul":  # which has no bias
            before = numpy_helper.to_array(constants[node.input[2]]) if len(node.input) > 2 else np.float32(0)
            values = (before + shifts[node.name]).astype(np.float32)
            node.input[2:] = [f"{node.name}_corrected_bias"]
            result.graph.initializer.append(numpy_helper.from_array(values, node.input[2]))
    used = {name for node in result.graph.node for name in node.input}
    kept = [tensor for tensor in result.graph.initializer if tensor.name in used]
    result.graph.ClearField("initializer")
    result.graph.initializer.extend(kept)
    return result.SerializeToString()


def noise_by_layer(model: bytes, samples: Sequence[Values]) -> dict[str, float]:
    """How far a quantised model's outputs move when one layer alone is in INT8, by the node's name: the sum of squares
    in parts of that of the outputs, on average over the outputs."""
    layers = [node.name for node in _int8_layers(Graph(onnx.load_from_string(model).graph))]
    plain = _outputs(_only(model, ()), samples)
    found = {}
    for layer in layers:
        moved = _outputs(_only(model, (layer,)), samples)
        found[layer] = float(np.mean([_part(before, after) for before, after in zip(plain, moved)]))
    return found


def _part(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.square(after - before).sum() / max(np.square(before).sum(), 1e-30))


def _int8_layers(graph: Graph) -> list[NodeProto]:
    return [node for node in graph.nodes if graph.is_weighted(node) and graph.dequantised(node.input[0])]


def _only(model: bytes, layers: Iterable[str]) -> bytes:
    """The model with these layers in INT8 and all else in float."""
    result, chosen = onnx.load_from_string(model), frozenset(layers)
    graph = Graph(result.graph)
    for node in graph.nodes:
        if node.op_type not in (Q, DQ) and node.name not in chosen:
            node.input[:] = [graph.before_pair(name) for name in node.input]
    return result.SerializeToString()


def _outputs(model: bytes, samples: Sequence[Values]) -> list[np.ndarray]:
    session = open_session(model)
    names = [value.name for value in session.get_outputs()]
    runs = [run_session(session, "segment", names, sample) for sample in samples]
    return [np.stack(values) for values in zip(*runs)]


def _add_twin(target: onnx.GraphProto, graph: Graph, node: NodeProto) -> str:
    """Compute a layer in float, too, from what it reads before that is quantised. Returns the output with the mean of
    the difference by channel."""
    twin, given = NodeProto(), node.output[0]
    twin.CopyFrom(node)
    twin.name, twin.output[:] = f"twin/{node.name}", [f"twin/{given}"]
    twin.input[:] = [graph.before_pair(name) for name in node.input]
    axes = [0, 2, 3] if node.op_type.startswith("Conv") else [0]
    target.node.append(twin)
    target.node.append(helper.make_node("Sub", [*twin.output, given], [f"difference/{given}"]))
    target.node.append(
        helper.make_node("ReduceMean", [f"difference/{given}"], [f"shift/{given}"], axes=axes, keepdims=0)
    )
    target.output.append(onnx.ValueInfoProto(name=f"shift/{given}"))
    return f"shift/{given}"
