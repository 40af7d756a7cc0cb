"""Whether an engine computes what its ONNX does, run on the bundle's recorded activations; and in what precision.

The engine inspector's JSON is not specified and differs between releases, so types are looked for by their names.
"""

import json
import re
from collections import Counter
from typing import Any, Dict, List

import numpy as np

from tlee.activations import Activations, difference
from tlee.bundle import Bundle
from tlee.engines.cuda import Cuda
from tlee.engines.interface import FREE, TensorRT
from tlee.errors import EngineError

# Largest differences allowed, see `tlee.activations.difference`. float32 sums come in another order. Half precision:
# rounding every value in ONNX Runtime changes the outputs of MobileNetV2's and ResNet-50's graphs by 0.0024 at most; a
# GPU may round sums, too. INT8 differs by its nature, so by how much its Q/DQ graph does in ONNX Runtime decides: an
# engine may differ by twice that, and by what fp16 may.
TOLERANCE = {"fp32": 0.002, "fp16": 0.02, "int8": 0.02}
INT8_FACTOR = 2.0
UNKNOWN = "unknown"
PRECISION_NAMES = [
    ("int8", re.compile(r"\b(int8|qint8)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half|float16)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float|float32)\b", re.IGNORECASE)),
]


def differences(
    release: TensorRT, cuda: Cuda, engine: Any, bundle: Bundle, graph: str, batch: int = 1
) -> Dict[str, float]:
    """The largest difference of each output over all recorded steps and all `batch` rows, which get the same inputs.
    Raises EngineError where the engine is for other inputs, outputs or fewer videos, or does not run."""
    segment, values = bundle.graph(graph), release.values(engine)
    wanted = [(name, True) for name in segment.inputs] + [(name, False) for name in segment.outputs]
    if sorted((v.name, v.is_input) for v in values) != sorted(wanted):
        raise EngineError(graph, "the engine has other inputs or outputs than the ONNX", "build it again")
    rows = {v.name: batch if v.shape[0] == FREE else 1 for v in values}
    if any(rows[name] != batch for name in segment.outputs):
        raise EngineError(graph, f"the engine answers one video only, not {batch} at once", "build it again")
    addresses = {v.name: cuda.allocate(4 * rows[v.name] * int(np.prod(v.shape[1:]))) for v in values}
    size = release.scratch(engine)
    context = release.context(engine, cuda.allocate(size), size)
    release.set_batch(context, values, batch)
    largest = {name: 0.0 for name in segment.outputs}
    for inputs, expected in Activations(bundle).of(graph):
        given = {name: np.repeat(array, rows[name], axis=0) for name, array in inputs.items()}  # kept until copied
        for name, array in given.items():
            cuda.upload(addresses[name], array)
        release.enqueue(context, values, addresses, cuda.stream)
        answers = {name: np.empty((rows[name],) + want.shape[1:], np.float32) for name, want in expected.items()}
        for name, array in answers.items():
            cuda.download(array, addresses[name])
        cuda.synchronize()
        for name, want in expected.items():
            largest[name] = max([largest[name]] + [difference(name, want, row) for row in answers[name]])
    return largest


def tolerance(bundle: Bundle, graph: str, precision: str) -> float:
    """How far an engine's outputs may be from ONNX Runtime's in float32."""
    if precision != "int8":
        return TOLERANCE[precision]
    return TOLERANCE["int8"] + INT8_FACTOR * (bundle.variant(graph, "int8") or {})["deviation"]


def layers(inspected: str) -> List[Dict[str, str]]:
    """Name, type and precision of an engine's layers, from `get_engine_information` in JSON.

    A layer's precision is that of its weights, or if it has none, of its first input that has one: a fused layer that
    takes int8 and gives float32 computes in int8.
    """
    found = []
    for entry in json.loads(inspected).get("Layers", []):
        layer: Dict[str, Any] = entry if isinstance(entry, dict) else {"Name": entry}
        described = [layer.get("Weights"), *layer.get("Inputs", []), *layer.get("Outputs", [])]
        precision = next(filter(None, map(_precision, described)), UNKNOWN)
        found.append({"name": layer.get("Name", ""), "type": layer.get("LayerType") or UNKNOWN, "precision": precision})
    return found


def summary(found: List[Dict[str, str]]) -> str:
    """How many layers compute in which precision.

    Examples:
        >>> summary([{"precision": "fp16"}, {"precision": "fp32"}, {"precision": "fp16"}])
        '2 fp16, 1 fp32'
    """
    counts = Counter(layer["precision"] for layer in found)
    return ", ".join(f"{count} {precision}" for precision, count in sorted(counts.items()))


def _precision(described: Any) -> str:
    """Of weights, {"Type": "Half"}, or of a value, {"Format/Datatype": "Row major linear FP32"}; else ""."""
    keys = ("Type", "Format/Datatype", "Datatype", "DataType")
    text = " ".join(str(described.get(key, "")) for key in keys) if isinstance(described, dict) else ""
    return next((name for name, pattern in PRECISION_NAMES if pattern.search(text)), "")
