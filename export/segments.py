"""The model in parts: each segment as a module of its own, with example inputs and the names of its values."""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnxslim
import torch
from onnx import TensorShapeProto, ValueInfoProto, numpy_helper
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tlee.bundle import BATCH
from tlee.errors import UsageError
from tlee.export.per_frame import FrameClassifier, FrameGate
from tlee.models.backbones.backbone import run_modules
from tlee.models.model import Tlee

SHARED = ("temperature",)  # inputs that are one for all videos
OPSET = 13  # the newest that TensorRT 8.2 (JetPack 4.6) parses
NEXT = "_next"  # behind the name of a state: its value for the next frame
# Operators for which an engine needs no kernel: other views of a map, and joining maps.
VIEWS = frozenset(["Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
# Operators that an engine fuses into the layer before.
POINTWISE = frozenset(
    ["Add", "BatchNormalization", "Clip", "Div", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul"]
    + ["Neg", "PRelu", "Pow", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh"]
)


@dataclass(frozen=True)
class SegmentModule:
    """A segment before it becomes ONNX."""

    name: str
    module: nn.Module  # in eval mode
    inputs: tuple[str, ...]  # names
    shapes: tuple[tuple[int, ...], ...]  # of the inputs
    outputs: tuple[str, ...]  # names

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the right shapes."""
        return tuple(torch.zeros(shape) for shape in self.shapes)


class Head(nn.Module):
    """Classifier and confidence, the largest class probability at the temperature of the exit."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, z: Tensor, temperature: Tensor, *position: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(z, *position)
        return logits, (logits / temperature).softmax(1).amax(1, keepdim=True)


class GateScore(nn.Module):
    """The gate's probability."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, z: Tensor, previous: Tensor, *position: Tensor) -> Tensor:
        return self.gate(z, previous, *position).sigmoid()


class Split(nn.Module):
    """A split, its modules by their number in the backbone, with the named states of its temporal shifts as further
    inputs and outputs; the first one has `normalise` in front."""

    def __init__(self, modules: dict[int, nn.Module], states: Sequence[str], normalise: nn.Module) -> None:
        super().__init__()
        self.normalise, self.states = normalise, states
        self.part = nn.ModuleDict({str(i): module for i, module in modules.items()})

    def forward(self, x: Tensor, *given: Tensor) -> Tensor | tuple[Tensor, ...]:
        before, after = dict(zip(self.states, given)), {}

        def exchange(name: str, kept: Tensor) -> Tensor:
            after[name] = kept
            return before[name]

        x = run_modules({int(i): module for i, module in self.part.items()}, self.normalise(x), exchange)
        return (x, *(after[name] for name in self.states)) if self.states else x


def segment_modules(model: Tlee) -> list[SegmentModule]:
    """All segments of a model, in the order a frame meets them."""
    backbone, size = model.backbone, model.config.model.input_size
    maps = [(1, *shape) for shape in backbone.shapes]
    raw, joined = (1, backbone.feature_size), (1, model.feature_size)
    parts = []
    for b, states in enumerate(backbone.state_shapes):
        source, shape = (f"x{b - 1}", maps[b - 1]) if b else ("frame", (1, size, size, 3))
        split = Split(backbone.split_modules(b), list(states), nn.Identity() if b else model.normalise)
        shapes = (shape, *((1, *own) for own in states.values()))
        outputs = (f"x{b}", *(name + NEXT for name in states))
        parts.append(SegmentModule(f"split{b}", split, (source, *states), shapes, outputs))
    for b, branch in enumerate(model.branches):
        parts.append(SegmentModule(f"branch{b}", branch, (f"x{b}",), (maps[b],), ("feature",)))
    parts.append(SegmentModule("tail", backbone.tail, (f"x{model.exits - 1}",), (maps[-1],), ("feature",)))
    if model.config.model.neck:  # stored once, though every exit has it
        parts.append(SegmentModule("neck", model.neck, ("feature",), (raw,), ("projection",)))
    if model.config.model.frm != "none":
        parts.append(SegmentModule("frm", model.frm, ("feature", "previous"), (joined, joined), ("z",)))
    classifier, gate = model.classifier, model.gate
    position: tuple[str, ...] = ()  # an input of heads with weights per frame
    if isinstance(classifier, nn.ModuleList):
        classifier, position = FrameClassifier(classifier), ("position",)
    if isinstance(gate, nn.ModuleList):
        gate = FrameGate(gate)
    positions = ((1, 1),) * len(position)
    inputs, shapes = ("z", "temperature", *position), (joined, (1, 1), *positions)
    parts.append(SegmentModule("head", Head(classifier), inputs, shapes, ("logits", "confidence")))
    if gate:
        inputs, shapes = ("z", "previous", *position), (joined, joined, *positions)
        parts.append(SegmentModule("gate", GateScore(gate), inputs, shapes, ("score",)))
    for part in parts:
        part.module.eval()  # a new Sequential starts in training mode, even when its parts do not
    return parts


def to_onnx(segment: SegmentModule) -> onnx.ModelProto:
    """A segment as a cleaned and checked ONNX model, opset 13, float32, for any number of videos at once.

    Raises:
        UsageError: a layer computes for one video only.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # torch announces the end of the exporter that alone can write opset 13.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            segment.module,
            segment.example(),
            content,  # type: ignore[arg-type]  # a stream, too, where dynamo is off
            dynamo=False,  # the dynamo exporter cannot write opset 13
            opset_version=OPSET,
            input_names=list(segment.inputs),
            output_names=list(segment.outputs),
        )
    model = onnxslim.slim(onnx.load_model_from_string(content.getvalue()))
    _scale_by_weights(model.graph)
    _enter_in_blocks(model.graph)
    free_batch(segment.name, model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _scale_by_weights(graph: onnx.GraphProto) -> None:
    """Let the first convolution's weights scale the frame, so that only the mean is left to subtract: 1 % of
    MobileNetV2. At the borders, too, nothing but rounding changes: padding is zero at any scale."""
    nodes = list(graph.node)[1:4]  # after the transposition
    if graph.input[0].name != "frame" or [node.op_type for node in nodes] != ["Mul", "Add", "Conv"]:
        return
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scale, shift, weight = (tensors[node.input[1]] for node in nodes)
    factor = numpy_helper.to_array(scale)  # (3, 1, 1)
    folded = {shift.name: numpy_helper.to_array(shift) / factor, weight.name: numpy_helper.to_array(weight) * factor}
    for name, array in folded.items():
        tensors[name].CopyFrom(numpy_helper.from_array(array, name))
    nodes[1].input[0] = nodes[0].input[0]
    graph.node.remove(nodes[0])
    graph.initializer.remove(scale)


def _enter_in_blocks(graph: onnx.GraphProto) -> None:
    """Put a 1x1 pool, which changes nothing, in front of a segment that starts with a residual block.

    ONNX Runtime computes convolutions in a blocked layout. An addition one side of which is the segment's input
    stays outside of it, and with it every addition that follows: two conversions and a lost fusion each. The pool
    brings the input into blocks once (MobileNetV2's last two splits: 3 % of the chain's time).
    """
    entry = graph.input[0].name
    users = [node for node in graph.node if entry in node.input]
    if not {"Conv", "Add"} <= {node.op_type for node in users}:
        return
    blocked = f"{entry}_blocked"
    for node in users:
        node.input[:] = [blocked if name == entry else name for name in node.input]
    pool = onnx.helper.make_node("MaxPool", [entry], [blocked], name="enter_in_blocks", kernel_shape=[1, 1])
    graph.node.insert(0, pool)


def free_batch(segment: str, model: onnx.ModelProto) -> None:
    """Call the first dimension of all inputs but `SHARED` and of all outputs `BATCH`, in place.

    Nodes stay as they are: none in our models depends on the number of videos.

    Raises:
        UsageError: a node does, such as a Reshape to a constant shape; names segment, node and operator.
    """
    graph = model.graph
    graph.ClearField("value_info")  # shapes for one video
    for value in graph.input:
        if value.name not in SHARED:
            _first(value).dim_param = BATCH
    for value in graph.output:
        _first(value).Clear()
    # Every node that reads a batch has to give a batch, as far as ONNX's shape inference knows.
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    free = {value.name for value in values if _first(value).dim_param == BATCH}
    for node in inferred.node:
        if free.intersection(node.input) and not free.issuperset(node.output):
            problem = f"node '{node.name or node.output[0]}' is a {node.op_type} that computes for one video only"
            raise UsageError(f"segment {segment}", problem, "write that layer without a constant number of videos")
    for value in graph.output:
        _first(value).dim_param = BATCH


def _first(value: ValueInfoProto) -> TensorShapeProto.Dimension:
    dimensions = value.type.tensor_type.shape.dim
    return dimensions[0] if dimensions else TensorShapeProto.Dimension()


def count_macs(segment: SegmentModule) -> int:
    """Multiply-accumulates of the segment's convolutions and linear layers, as torch counts them."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        segment.module(*segment.example())
    return counter.get_total_flops() // 2


def count_traffic(model: onnx.ModelProto) -> dict[str, int]:
    """Launches and memory traffic of a graph for one video, as defined in docs/bundle.md.

    Returns:
        `layers` that a fused engine launches; `elements`, numbers in the feature maps that these write.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    # Numbers in each value that depends on the input, for one video; shapes and weights have none.
    weights, sizes = {tensor.name for tensor in graph.initializer}, {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.elem_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) and value.name not in weights:
            sizes[value.name] = math.prod(dimension.dim_value or 1 for dimension in kind.shape.dim)
    made: set[str] = set()  # maps that a layer writes
    layers = elements = 0
    for node in graph.node:
        inputs, output = [name for name in node.input if name in sizes], node.output[0]
        if node.op_type in VIEWS or not inputs or output not in sizes:
            continue
        alone = [name for name in inputs if name in made and readers[name] == 1 and sizes[name] == sizes[output]]
        if node.op_type not in POINTWISE or not alone:
            layers, elements = layers + 1, elements + sizes[output]
        made.add(output)
    return {"layers": layers, "elements": elements}
