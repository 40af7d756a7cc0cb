"""Fused exits: all that one exit computes as one graph, so that a device needs one call for it.

Composed from the segments' own graphs, in the precision of these; a fused exit stores no weight twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tlee.bundle import BATCH

INPUTS, OUTPUTS = ("previous", "position", "temperature"), ("z", "logits", "confidence", "score")
POSITION = helper.make_tensor_value_info("position", TensorProto.FLOAT, [BATCH, 1])
HALF = "frm/half"


def compose(name: str, parts: Sequence[str], graphs: Mapping[str, ModelProto]) -> ModelProto:
    """The graph of a fused exit, checked.

    Inputs are x<b> and of `INPUTS` those that the parts need, outputs those of `OUTPUTS` that they give. With an FRM, z
    is its result, but in a video's first frame, where `position` is 0, the feature itself.

    Args:
        parts: its segments, as `tlee.manifest.fused_exit_segments` gives them.
        graphs: of at least these segments, all of one opset and IR version.
    """
    own = {part: graphs[part].graph for part in parts}
    names = value_names(own)
    nodes, constants, values = [], [], {}
    for part, graph in own.items():
        for i, node in enumerate(graph.node):
            nodes.append(NodeProto())
            nodes[-1].CopyFrom(node)
            nodes[-1].name = f"{part}/{node.name or f'{node.op_type}_{i}'}"
            nodes[-1].input[:] = [names[part].get(name, name) for name in node.input]  # an input left out has no name
            nodes[-1].output[:] = [names[part].get(name, name) for name in node.output]
        if part == "frm":
            # Where copies one side: what the FRM computes from a first frame's `previous` never matters.
            nodes.append(helper.make_node("Greater", ["position", HALF], ["frm/chosen"], "frm/choose_greater"))
            sides = [names[part]["z"], names[part]["feature"]]
            nodes.append(helper.make_node("Where", ["frm/chosen", *sides], ["z"], "frm/choose_where"))
        for tensor in graph.initializer:
            constants.append(TensorProto())
            constants[-1].CopyFrom(tensor)
            constants[-1].name = names[part][tensor.name]
        values.update({value.name: value for value in (*graph.input, *graph.output)})
    if "frm" in parts:
        constants.append(numpy_helper.from_array(np.array(0.5, np.float32), HALF))
        values[POSITION.name] = POSITION
    graph = helper.make_graph(
        nodes,
        name,
        [own[parts[0]].input[0], *(values[name] for name in INPUTS if name in values)],
        [values[name] for name in OUTPUTS if name in values],
        constants,
    )
    first = graphs[parts[0]]
    model = helper.make_model(graph, opset_imports=first.opset_import, ir_version=first.ir_version)
    onnx.checker.check_model(model, full_check=True)
    return model


def value_names(graphs: Mapping[str, GraphProto]) -> dict[str, dict[str, str]]:
    """What a fused exit of these segments, in order, calls each of their values: "<segment>/<value>", but for its own
    inputs and outputs."""
    first = next(iter(graphs))
    branch = f"{first}/feature"
    feature = "neck/projection" if "neck" in graphs else branch  # before any reuse
    if "frm" not in graphs:
        feature = "z"
    between = {
        first: {"feature": branch if "neck" in graphs else feature},
        "neck": {"feature": branch, "projection": feature},
        "frm": {"feature": feature, "z": "frm/z"},
    }
    names = {}
    for part, graph in graphs.items():
        inner = [name for node in graph.node for name in node.output] + [tensor.name for tensor in graph.initializer]
        names[part] = {name: f"{part}/{name}" for name in inner if name}
        names[part].update({value.name: value.name for value in (*graph.input, *graph.output)})
        names[part].update(between.get(part, {}))
    return names
