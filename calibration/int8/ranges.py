"""The range of every tensor of a segment over sample inputs: what INT8 calibration has to know."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import onnx
from scipy.special import rel_entr

from tlee.errors import SegmentError, UsageError
from tlee.runtime.onnx_session import open_session, run_session

METHODS = ("minmax", "mse", "entropy", "percentile")
# Below it a scale would be 0 in half precision. A tensor that is 0 in every sample gets it, too: 0 stays 0.
SMALLEST = 127 * 2.0**-24
LEVELS = 128  # magnitudes of an int8
BINS = 16 * LEVELS


def tensor_ranges(
    model: bytes, samples: Sequence[dict[str, np.ndarray]], method: str, percentile: float = 99.99
) -> dict[str, float]:
    """The largest magnitude to represent, above 0, of every float32 input, output and value between of an ONNX model.

    Samples run one at a time, all of them twice unless the method is `minmax`; memory does not grow with them.

    Args:
        samples: each with all inputs by name, float32.
        method: `mse` for the one with the least mean square error; `minmax` for the largest magnitude that occurs;
            `percentile` for the one that so many values do not exceed; `entropy` for the one behind which least
            information is cut off: Migacz, "8-bit Inference with TensorRT", GTC 2017, zeros left out as in NVIDIA's
            pytorch-quantization.
        percentile: above 0, up to 100.

    Raises:
        UsageError: no samples, an unknown method, no percentile.
        SegmentError: a value is not finite; names the tensor.
        BundleError: ONNX Runtime cannot run it.
    """
    if method not in METHODS:
        raise UsageError("calibration method", f"{method!r} is none", f"choose one of {', '.join(METHODS)}")
    if not 0 < percentile <= 100:
        raise UsageError("percentile", f"{percentile} is none", "choose one above 0, up to 100")
    if not samples:
        raise UsageError("calibration", "there are no samples", "give at least one")
    largest: dict[str, float] = {}
    for name, values in _observe(model, samples):
        magnitude = float(np.abs(values).max())
        if not math.isfinite(magnitude):
            raise SegmentError(f"tensor {name}", "not finite in calibration", "look at the model's weights")
        largest[name] = max(magnitude, largest.get(name, SMALLEST))
    if method == "minmax":
        return largest
    counts = {name: np.zeros(BINS) for name in largest}  # of magnitudes, in equal parts of each tensor's range
    for name, values in _observe(model, samples):
        counts[name] += np.histogram(np.abs(values), BINS, (0, largest[name]))[0]
    parts: dict[str, Callable[[np.ndarray], float]] = {
        "mse": _least_error,
        "entropy": _least_divergent,
        "percentile": partial(_covering, share=percentile / 100),
    }
    part = parts[method]
    return {name: max(SMALLEST, magnitude * part(counts[name])) for name, magnitude in largest.items()}


def _observe(model: bytes, samples: Sequence[dict[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Every float32 tensor of the model with its name, sample by sample."""
    observed = onnx.load_from_string(model)
    names = [name for node in observed.graph.node if node.op_type != "Constant" for name in node.output if name]
    outputs = {value.name for value in observed.graph.output}
    observed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    session = open_session(observed.SerializeToString())
    floats = {value.name for value in session.get_outputs() if value.type == "tensor(float)"}
    names = [name for name in names if name in floats]
    for sample in samples:
        yield from sample.items()
        yield from zip(names, run_session(session, observed.graph.name, names, sample))


def _covering(counts: np.ndarray, share: float) -> float:
    """The part of the range that holds such a share of the values."""
    covered = np.cumsum(counts) >= share * counts.sum()
    return float(np.argmax(covered) + 1) / BINS


def _least_error(counts: np.ndarray) -> float:
    """The part of the range in which rounding, and cutting off what is beyond, changes the squares of values least."""
    values = np.arange(BINS) + 0.5  # magnitudes in the middle of their bins
    ends = np.arange(LEVELS, BINS + 1, 8)
    errors = []
    for end in ends:
        step = end / (LEVELS - 1)
        # Within a level all errors are as likely: the bins are too coarse to tell. Zeros have none.
        inside, beyond = counts[1:end].sum() * step**2 / 12, np.square(values[end:] - end) @ counts[end:]
        errors.append(inside + beyond)
    return float(ends[np.argmin(errors)]) / BINS


def _least_divergent(counts: np.ndarray) -> float:
    """The part of the range in which quantised values are distributed most like all values, those beyond at its end.

    Not by ONNX Runtime's calibrator: its 128 bins never cut, and 2048 do at 1/3 behind a ReLU, as it counts zeros.
    """
    counts = np.concatenate([[0], counts[1:]])  # zeros are zeros at any scale
    least, best = math.inf, BINS
    for end in range(LEVELS, BINS + 1, BINS // LEVELS):
        inside = counts[:end]
        if not inside[-1]:  # no place for the ones beyond
            continue
        wanted = np.append(inside[:-1], counts[end - 1 :].sum())
        level, filled = np.arange(end) * LEVELS // end, inside > 0
        mean = np.bincount(level, inside) / np.maximum(np.bincount(level, filled), 1)
        found = filled * mean[level]  # 0 where `wanted` is
        divergence = rel_entr(wanted / wanted.sum(), found / found.sum()).sum()  # Kullback-Leibler's
        if divergence <= least:
            least, best = divergence, end
    return best / BINS
