"""Whether an engine computes what its ONNX does: run on the bundle's recorded activations."""

from typing import Any, Dict

import numpy as np

from tlee.activations import Activations, difference
from tlee.bundle import Bundle
from tlee.engines.cuda import Cuda
from tlee.engines.releases import FREE, TensorRT
from tlee.errors import EngineError

# Largest differences allowed, see `tlee.activations.difference`. float32 sums come in another order. Half precision:
# rounding every value in ONNX Runtime changes the outputs of MobileNetV2's and ResNet-50's graphs by 0.0024 at most; a
# GPU may round sums, too. INT8 differs by its nature, so by how much its Q/DQ form does in ONNX Runtime decides: an
# engine may differ by twice that, and by what fp16 may.
TOLERANCE = {"fp32": 0.002, "fp16": 0.02, "int8": 0.02}
INT8_FACTOR = 2.0


def differences(
    release: TensorRT, cuda: Cuda, engine: Any, bundle: Bundle, graph: str, batch: int = 1
) -> Dict[str, float]:
    """The largest difference of each output over all recorded steps. An engine for several videos is given each step in
    all places at once, and has to answer it in every one.

    Args:
        batch: the most videos that the engine was built for.

    Raises:
        EngineError: the engine's inputs and outputs are not the graph's, it is for fewer videos, or it does not run.
    """
    segment = bundle.graph(graph)
    values = release.values(engine)
    names = {True: sorted(segment.inputs), False: sorted(segment.outputs)}
    if any(sorted(v.name for v in values if v.is_input == side) != names[side] for side in (True, False)):
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
        given = {}
        for name, array in inputs.items():
            given[name] = np.repeat(array, rows[name], axis=0)
            cuda.upload(addresses[name], given[name])
        release.enqueue(context, values, addresses, cuda.stream)
        found = {name: np.empty((rows[name],) + want.shape[1:], np.float32) for name, want in expected.items()}
        for name, array in found.items():
            cuda.download(array, addresses[name])
        cuda.synchronize()
        for name, want in expected.items():
            largest[name] = max([largest[name]] + [difference(name, want, row) for row in found[name]])
    return largest


def tolerance(bundle: Bundle, graph: str, precision: str) -> float:
    """How far an engine's outputs may be from ONNX Runtime's in float32."""
    if precision != "int8":
        return TOLERANCE[precision]
    return TOLERANCE["int8"] + INT8_FACTOR * (bundle.variant(graph, "int8") or {})["deviation"]
