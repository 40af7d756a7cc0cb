"""One segment on its way to INT8: its ranges, the corrections of its biases, and its graph with any layers in float."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import onnx

from tlee.calibration.int8.graph import macs_by_layer
from tlee.calibration.int8.layers import corrected, noise_by_layer, shifts_by_layer
from tlee.calibration.int8.qdq import Int8Graph, misplaced, quantised
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.errors import BundleError

REMEDY = "its layers stand in an order that is not known here; report it with the model's configuration"
LOOKED_AT = 16  # samples, for the noise of every single layer


class PreparedSegment(NamedTuple):
    """A segment with all that its INT8 graphs are made from."""

    name: str
    model: bytes  # float32
    ranges: dict[str, float]  # largest magnitude by tensor
    shifts: dict[str, np.ndarray]  # of the means of each layer's outputs, see `tlee.calibration.int8.layers`
    noise: dict[str, float]  # of each layer, at the segment's outputs
    macs: dict[str, int]  # multiply-accumulates of each layer for one video
    given: int  # sets of inputs that the tuning videos gave it
    samples: int  # sets of inputs that all is from

    def graph(self, floats: Collection[str] = ()) -> Int8Graph:
        """The INT8 graph in which these layers stay in float, not all that there are.

        Raises:
            BundleError: TensorRT would not take it.
        """
        graph = _quantised(self.name, self.model, self.ranges, floats)
        shifts = {layer: shift for layer, shift in self.shifts.items() if layer not in floats}
        return Int8Graph(corrected(graph, shifts), self.ranges, self.given, self.samples)


def prepare(
    name: str, model: bytes, samples: Sequence[dict[str, np.ndarray]], given: int, method: str
) -> PreparedSegment:
    """Find out all that INT8 graphs of a segment need, from samples of its inputs.

    Args:
        given: sets of inputs that the samples were drawn from.
        method: see `tlee.calibration.int8.ranges.tensor_ranges`.

    Raises:
        BundleError: TensorRT would not take an INT8 graph of it.
        SegmentError: a value is not finite; names the tensor.
    """
    ranges = tensor_ranges(model, samples, method)
    graph = _quantised(name, model, ranges)
    shifts = shifts_by_layer(graph, samples)
    noise = noise_by_layer(graph, samples[:: max(1, len(samples) // LOOKED_AT)])
    macs = macs_by_layer(onnx.load_from_string(model))
    return PreparedSegment(name, model, ranges, shifts, noise, macs, given, len(samples))


def _quantised(name: str, model: bytes, ranges: dict[str, float], floats: Collection[str] = ()) -> bytes:
    graph = quantised(model, ranges, floats)
    problems = ["nothing in it was quantised"] if graph is None else misplaced(graph, floats)
    if graph is None or problems:
        raise BundleError(f"segment {name}", problems[0], REMEDY)
    return graph
