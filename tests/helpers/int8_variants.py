"""INT8 graphs of a bundle without videos: ranges are those of its recorded activations."""

from __future__ import annotations

from tlee.activations import Activations
from tlee.bundle import Bundle
from tlee.calibration.int8.qdq import Int8Graph, fused_exit_graphs, quantised
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.export.activations import deviation
from tlee.export.bundle_writer import amend_bundle
from tlee.manifest import FP32_ONLY


def add_int8(bundle: Bundle, excluded: tuple[str, ...] = ()) -> Bundle:
    """Write graphs, caches and deviations of segments and fused exits into the bundle, as tlee-calibrate does."""
    activations = Activations(bundle)
    graphs = {}
    for name, segment in bundle.segments.items():
        if segment.macs and name not in FP32_ONLY:
            model, samples = bundle.read(name), [inputs for inputs, _ in activations.of(name)]
            ranges = tensor_ranges(model, samples, "minmax")
            graphs[name] = Int8Graph(quantised(model, ranges), ranges, len(samples), len(samples))
    made = {**graphs, **fused_exit_graphs(bundle, graphs, excluded)}
    with amend_bundle(bundle) as writer:
        entries = {}
        for name, graph in made.items():
            entries[name] = {"file": f"variants/int8/{name}.onnx", "cache": f"calibration/int8/{name}.cache"}
            writer.add(entries[name]["file"], graph.model)
            writer.add(entries[name]["cache"], graph.cache())
            entries[name]["deviation"] = deviation(activations, name, graph.model)
        int8 = {"graphs": entries, "excluded": list(excluded), "made": {}}
        writer.finish({**bundle.manifest, "variants": {**bundle.manifest["variants"], "int8": int8}})
    return Bundle.open(bundle.path)
