"""Which parts of a bundle change its results in half precision: the table of docs/engines.md.

    python examples/half_precision.py build/digits.tlee build/digits/test

ONNX Runtime's CPU provider computes fp16 in float32 and removes every pair of casts between two nodes, and with it the
rounding. Here an Identity behind each half-precision value prevents that.
"""

from __future__ import annotations

import sys

import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, helper, shape_inference

from tlee import cli
from tlee.bundle import Bundle
from tlee.calibration.int8.compare import Configuration, answer_videos
from tlee.calibration.int8.plan import PlannedChains
from tlee.calibration.videos import VideoReader
from tlee.data.labelled.listing import read_listing
from tlee.evaluation.evaluate import fitted
from tlee.export.exporter import in_half
from tlee.policy import exit_policy
from tlee.runtime import onnx_session
from tlee.runtime.onnx_backend import OnnxBackend


def rounded(model: ModelProto) -> ModelProto:
    """The model with an Identity behind each half-precision value."""
    values = shape_inference.infer_shapes(model).graph
    half = {v.name for v in (*values.value_info, *values.output) if v.type.tensor_type.elem_type == TensorProto.FLOAT16}
    nodes = []
    for node in list(model.graph.node):
        node.input[:] = [f"{name}_rounded" if name in half else name for name in node.input]
        nodes.append(node)
        nodes += [helper.make_node("Identity", [name], [f"{name}_rounded"]) for name in node.output if name in half]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def without_optimisation(content: bytes, *_: object) -> object:
    """Replaces `open_session`, which would optimise the Identities away."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def main(path: str, videos: str) -> None:
    onnx_session.open_session = without_optimisation
    bundle = Bundle.open(path)
    graphs = {name: onnx.load_from_string(bundle.read(name)) for name in bundle.segments}
    halves = {name: rounded(in_half(name, graph)).SerializeToString() for name, graph in graphs.items()}
    chains, parts = PlannedChains(bundle, OnnxBackend(bundle, 1), halves, 1), ("head", "gate", "frm")
    excluded = {"nothing": list(halves), "all": [], "all but head, gate and frm": list(parts)}
    excluded.update({f"{part} alone": [name for name in halves if name != part] for part in parts})
    gate, frames = bundle.manifest["model"]["gate"], bundle.frames.length
    configurations = {
        name: Configuration(chains.excluding(names), exit_policy(gate, frames, bundle.thresholds()))
        for name, names in excluded.items()
    }
    reader, listing = VideoReader(bundle.frames), fitted(read_listing("folders", videos), bundle.labels, path)
    found = answer_videos(bundle, configurations, "test", reader.tuning(listing, "measuring"), reader.unreadable)
    rows = [["in fp16", "accuracy", "same label", "same exit"]]
    for name in excluded:
        compared = found.compare(name, "nothing")
        rows.append([name, *(f"{compared[key]:.1%}" for key in ("top1", "label_agreement", "exit_agreement"))])
    print("\n".join(cli.table(rows, "lrrr")))


if __name__ == "__main__":
    main(*sys.argv[1:])
