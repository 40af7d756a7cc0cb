"""Layer by layer: the work that each is, what its rounding shifts and how far it moves outputs, and layers in float."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from conftest import SMALL, enliven, small_model
from helpers import tensorrt_rtx
from onnx import numpy_helper

from tlee.calibration.int8.graph import Graph, macs_by_layer
from tlee.calibration.int8.layers import corrected, noise_by_layer, shifts_by_layer
from tlee.calibration.int8.qdq import misplaced, quantised
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.calibration.int8.segment import prepare
from tlee.export.segments import count_macs, segment_modules, to_onnx
from tlee.runtime.onnx_session import open_session

SEGMENT = "split1"  # with a residual block of MobileNetV2


@functools.cache
def modules():
    parts = segment_modules(enliven(small_model(model={**SMALL["model"], "neck": 24})))
    return {part.name: (part, to_onnx(part).SerializeToString()) for part in parts}


@functools.cache
def samples():
    part, _ = modules()[SEGMENT]
    rng = np.random.default_rng(0)
    return [{"x0": rng.normal(0, 2, part.shapes[0]).astype(np.float32)} for _ in range(8)]


@functools.cache
def ranges():
    return tensor_ranges(modules()[SEGMENT][1], samples(), "minmax")


@functools.cache
def int8(floats: tuple[str, ...] = ()) -> bytes:
    return quantised(modules()[SEGMENT][1], ranges(), floats)


def layers() -> list[str]:
    return list(macs_by_layer(onnx.load_from_string(modules()[SEGMENT][1])))


def outputs(model: bytes) -> np.ndarray:
    session = open_session(model, threads=1)
    return np.stack([session.run(None, sample)[0] for sample in samples()])


def test_the_work_of_all_layers_is_that_of_the_segment():
    for part, model in modules().values():
        assert sum(macs_by_layer(onnx.load_from_string(model)).values()) == count_macs(part)
    assert macs_by_layer(onnx.load_from_string(int8())) == macs_by_layer(onnx.load_from_string(modules()[SEGMENT][1]))


@pytest.mark.parametrize("place", [0, 1, -1])
def test_a_layer_in_float_reads_no_pair_and_all_others_do(place):
    kept = layers()[place]
    model = int8((kept,))
    assert misplaced(model, [kept]) == []
    assert any(line.startswith(f"{kept}: its input") for line in misplaced(model))
    graph = Graph(onnx.load_from_string(model).graph)
    for node in filter(graph.has_weights, graph.nodes):
        assert [graph.dequantised(name) for name in node.input[:2]] == [node.name != kept] * 2
    assert tensorrt_rtx.build(model) > 0


def test_with_all_layers_in_float_there_is_no_int8_graph():
    assert int8(tuple(layers())) is None


def test_a_corrected_bias_takes_back_what_rounding_shifts():
    plain, first = modules()[SEGMENT][1], layers()[0]
    coarse = quantised(plain, {name: 8 * value for name, value in ranges().items()}, layers()[1:])
    shifts = shifts_by_layer(coarse, samples())
    assert list(shifts) == [first]
    before, moved, now = (means(model, first) for model in (plain, coarse, corrected(coarse, shifts)))
    assert np.abs(moved - before).max() > 1e-3
    np.testing.assert_allclose(now, before, atol=1e-4)


def means(model: bytes, layer: str) -> np.ndarray:
    """Of what a layer gives, by channel."""
    observed = onnx.load_from_string(model)
    name = next(node.output[0] for node in observed.graph.node if node.name == layer)
    observed.graph.output.insert(0, onnx.ValueInfoProto(name=name))
    return outputs(observed.SerializeToString()).mean((0, 1, 3, 4))


def test_only_the_biases_of_named_layers_change():
    def biases(model: bytes) -> dict[str, np.ndarray]:
        graph = Graph(onnx.load_from_string(model).graph)
        layered = filter(graph.has_weights, graph.nodes)
        return {node.name: numpy_helper.to_array(graph.constants[node.input[2]]) for node in layered}

    changed = layers()[1]
    before, after = biases(int8()), biases(corrected(int8(), {changed: np.float32(0.5)}))
    for name, bias in before.items():
        assert (after[name] == bias + np.float32(0.5 * (name == changed))).all()


def test_the_layer_that_is_rounded_most_moves_outputs_most():
    noise = noise_by_layer(int8(), samples())
    assert set(noise) == set(layers()) and all(0 < part < 0.1 for part in noise.values())
    ruined = layers()[2]
    read = next(n.input[0] for n in onnx.load_from_string(modules()[SEGMENT][1]).graph.node if n.name == ruined)
    rough = quantised(modules()[SEGMENT][1], {**ranges(), read: 50 * ranges()[read]})
    found = noise_by_layer(rough, samples())
    assert max(found, key=found.get) == ruined and found[ruined] > 5 * noise[ruined]


def test_a_prepared_segment_gives_graphs_with_any_layers_in_float():
    model = modules()[SEGMENT][1]
    segment = prepare(SEGMENT, model, samples(), 100, "minmax")
    assert (segment.given, segment.samples) == (100, 8) and list(segment.macs) == layers()
    before = outputs(model)
    half = layers()[: len(layers()) // 2]
    whole, partly = (np.square(outputs(segment.graph(kept).model) - before).sum() for kept in ((), half))
    assert whole > partly > 0
    assert segment.graph().model == corrected(int8(), segment.shifts)
