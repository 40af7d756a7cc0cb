"""Ranges of tensors over samples: what each method represents, and that nothing else happens."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import enliven, small_model
from onnx import TensorProto, helper, numpy_helper

from tlee.calibration.int8.ranges import METHODS, SMALLEST, tensor_ranges
from tlee.errors import SegmentError, UsageError
from tlee.export.segments import segment_modules, to_onnx

RNG = np.random.default_rng(0)


def graph(nodes, inputs, outputs, **constants) -> bytes:
    """An opset 13 model of float inputs and outputs of any shape."""
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in side] for side in (inputs, outputs)
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "graph", *sides, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=7).SerializeToString()


RELU = graph([helper.make_node("Relu", ["x"], ["y"])], ["x"], ["y"])


def relu_range(method, *samples, **options):
    """Of x, and of y behind the ReLU."""
    ranges = tensor_ranges(RELU, [{"x": np.asarray(x, np.float32)} for x in samples], method, **options)
    return ranges["x"], ranges["y"]


def test_every_float_tensor_gets_the_largest_magnitude_of_all_samples():
    model = graph(
        [
            helper.make_node("Mul", ["x", "weight"], ["product"]),
            helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.float32([1]))),
            helper.make_node("Shape", ["product"], ["shape"]),  # integers
            helper.make_node("Sub", ["product", "temperature"], ["difference"]),
            helper.make_node("Reshape", ["difference", "shape"], ["same"]),
            helper.make_node("Add", ["same", "one"], ["result"]),
        ],
        ["x", "temperature"],
        ["difference", "result"],
        weight=np.float32([-3]),
    )
    samples = [{"x": np.float32([[a, b]]), "temperature": np.float32([[2]])} for a, b in [(1, -2), (4, 0), (-3, 0.5)]]
    assert tensor_ranges(model, samples, "minmax") == {
        "x": 4, "temperature": 2, "product": 12, "difference": 14, "same": 14, "result": 13,
    }  # fmt: skip


def test_a_percentile_leaves_out_the_rare_large_values():
    x = np.append(np.linspace(-1, 1, 9999), 100)
    assert relu_range("percentile", x, percentile=99.9)[0] == pytest.approx(1, abs=100 / 2048)
    assert relu_range("percentile", x, percentile=100) == (100, 100)


def test_entropy_leaves_out_what_is_rare_and_far_but_not_what_is_dense():
    normal, even = RNG.normal(size=100_000), RNG.uniform(-1, 1, size=100_000)
    for found in relu_range("entropy", np.append(normal, [20, -20])):
        assert 2.5 < found < 6
    assert relu_range("entropy", normal) == pytest.approx(relu_range("minmax", normal), rel=0.2)
    assert relu_range("entropy", even) == pytest.approx((1, 1), rel=0.1)


def test_many_zeros_do_not_narrow_the_range():
    sparse = np.abs(RNG.normal(size=100_000)) * (RNG.random(100_000) < 0.2)
    assert relu_range("entropy", sparse)[1] > 0.6 * sparse.max()
    assert relu_range("percentile", sparse)[1] > 0.6 * sparse.max()


@pytest.mark.parametrize("method", METHODS)
def test_samples_count_together_in_any_order(method):
    samples = [scale * RNG.normal(size=1000) for scale in (1e-6, 1, 0, 100)]  # the first would make tiny bins
    together = relu_range(method, *samples)
    assert relu_range(method, *samples[::-1]) == together
    assert relu_range(method, np.concatenate(samples)) == together
    assert 20 < together[0] <= np.abs(samples[-1]).max() * (1 + 1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_always_zero_gets_a_range_whose_scale_is_above_zero_in_half_precision(method):
    assert relu_range(method, np.zeros(5), np.full(5, -1e-30)) == (SMALLEST, SMALLEST)
    assert np.float16(SMALLEST / 127) > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_is_represented_exactly(method):
    assert relu_range(method, np.full(5, 0.75)) == (0.75, 0.75)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_an_error_that_names_its_tensor(value):
    with pytest.raises(SegmentError, match="tensor x: not finite"):
        relu_range("minmax", [1, value])


def test_what_cannot_be_calibrated_is_refused():
    with pytest.raises(UsageError, match="'kl' is none; choose one of minmax, mse, entropy, percentile"):
        relu_range("kl", [1])
    with pytest.raises(UsageError, match="there are no samples"):
        relu_range("minmax")
    for percentile in (0, -1, 100.1, np.nan):
        with pytest.raises(UsageError, match="percentile"):
            relu_range("percentile", [1], percentile=percentile)


@pytest.mark.filterwarnings("error")
def test_every_segment_is_observed_without_a_word_or_a_file(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for part in segment_modules(enliven(small_model())):
        model = to_onnx(part)
        samples = [dict(zip(part.inputs, (RNG.random(s, np.float32) for s in part.shapes))) for _ in range(2)]
        tensors = {*part.inputs, *(name for node in model.graph.node for name in node.output)}
        capfd.readouterr()  # the exporter's
        largest = tensor_ranges(model.SerializeToString(), samples, "minmax")
        for method in METHODS:
            ranges = tensor_ranges(model.SerializeToString(), samples, method)
            assert set(ranges) == tensors
            assert all(SMALLEST <= ranges[name] <= largest[name] for name in tensors)
        assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_ranges_are_found_beside_sessions_that_share_one_thread_pool():
    program = """
import numpy, onnx.parser
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.runtime.onnx_session import open_session
text = '<ir_version: 7, opset_import: ["": 13]> graph (float[2] x) => (float[2] y) { y = Relu(x) }'
model = onnx.parser.parse_model(text).SerializeToString()
open_session(model, 1, shared_pool=True)
print(tensor_ranges(model, [{"x": numpy.float32([-2, 1])}], "minmax"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{'x': 2.0, 'y': 1.0}\n", "")
