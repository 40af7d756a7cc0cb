"""Whether an ONNX graph is one that an export writes.

Other graphs can name other files, never end, or take all memory, and a bundle may come from an attacker. Nothing is
run, and weights are not read: only their sizes count.
"""

import functools
import re
import struct
from typing import Any, Dict, List, Optional, Set, Tuple

from tlee.operators import FLOAT, HALF, INDICES, INT8, INT64, INTS, ONE_FLOAT, ONE_INT, OPERATORS, OPTIONAL, TEXT, VIEWS
from tlee.protobuf import BYTES, CUT_OFF, FOUR_BYTES, NUMBER, Field, GraphError, Message, read_number, shown, tags
from tlee.shape_rules import LARGEST_NUMBER, LEFT_OUT, RANK, VIDEOS, Node, Shape, Value, count, shown_shapes

OPSETS = range(13, 18)
IR_VERSIONS = (7, 8)  # those of these opsets
LARGEST_FILE = 2**30 + 2**24  # bytes: of 268 million weights; VGG-16 has 138
LONGEST_PART, LONGEST_NODE = 2**12, 2**14  # bytes; a part is what nodes, and values, have in common
MOST_NAMES = 50000  # of inputs and outputs of all nodes
LONGEST_INDICES = 2**13  # bytes, of sizes, axes or indices
ELEMENTS = 2**26  # numbers in a value, for one video: VGG-16's first map at 1024 x 1024 pixels
LIVE = 2**27  # in all values that are needed at one time
SMALL = 2**20  # numbers that may be shared by any nodes
WORK = 2**38  # for one video, as `tlee.shape_rules` counts it; EfficientNet-B7 at 600 x 600 pixels takes half of that
ITEM_SIZES = {FLOAT: 4, HALF: 2, INT8: 1, INT64: 8}  # bytes, of the types that stored tensors may have
PLAIN_NAME = re.compile("[A-Za-z0-9_.-]{0,200}")
POSITION = "position"  # the input that picks a frame's own weights


def check_graph(content: Any, frames: Optional[int] = None) -> None:
    """Refuse an ONNX model that is not of the kind that exports write.

    Such a model stores all tensors itself, computes with the operators of `OPERATORS` on float32 and float16 (int8
    between Q/DQ pairs), each node after those that it reads, and every shape follows from those of its inputs, of
    which the first dimension may be the number of videos. Sizes and work are bounded. Raises GraphError.

    Args:
        content: bytes, or a memoryview or mmap of them; is not kept.
        frames: how many a video has; weights of which each frame has its own must be for at least as many.
    """
    with memoryview(content) as data:
        if len(data) > LARGEST_FILE:
            raise GraphError(f"larger than {LARGEST_FILE} bytes")
        try:
            _Graph(data, frames).check()
        except IndexError:
            raise GraphError(CUT_OFF) from None
        except UnicodeDecodeError:
            raise GraphError("a name is not UTF-8") from None


IR_VERSION, GRAPH, OPSET = 1 * 8, 7 * 8 + BYTES, 8 * 8 + BYTES
MODEL_FIELDS = tags(NUMBER, 1, 5) | tags(BYTES, 2, 3, 4, 6, 7)  # versions, producer, domain, doc string, graph
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = (8 * number + BYTES for number in (1, 5, 11, 12, 13))
GRAPH_NAME = 2 * 8 + BYTES
GRAPH_FIELDS, GRAPH_LISTS = tags(BYTES, 2, 10), (NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO)
DIMS, DATA_TYPE, FLOAT_DATA, INT32_DATA, TENSOR_NAME, RAW_DATA = 8, 16, 34, 42, 66, 74
EXTERNAL, LOCATION = 13 * 8 + BYTES, 14 * 8
TENSOR_FIELDS = {DATA_TYPE, FLOAT_DATA, INT32_DATA, TENSOR_NAME, RAW_DATA, LOCATION} | tags(BYTES, 12)
NODE_NAME = 3 * 8 + BYTES
OPERATOR, ATTRIBUTE, DOC_STRING, DOMAIN = (8 * number + BYTES for number in (4, 5, 6, 7))  # of a node
KIND, VALUES = 20 * 8, 8 * 8  # of an attribute, and its only value by kind
VALUE_OF = {ONE_FLOAT: 16 + FOUR_BYTES, ONE_INT: 24, TEXT: 32 + BYTES}
FIRST, SECOND, NUMBER_1, NUMBER_2 = 1 * 8 + BYTES, 2 * 8 + BYTES, 1 * 8, 2 * 8  # in messages of two fields


def _graph_of(data: memoryview) -> Field:
    """Where the graph of a model lies."""
    model = Message(data, (0, len(data)), "model", MODEL_FIELDS, (OPSET,))
    if GRAPH not in model:
        raise GraphError(CUT_OFF)
    if model.number(IR_VERSION) not in IR_VERSIONS:
        raise GraphError("its IR version is not one of {}, {}".format(*IR_VERSIONS))
    opsets = model.all(OPSET)
    if len(opsets) != 1:
        raise GraphError(f"operators of {len(opsets)} domains, not of one")
    opset = Message(data, opsets[0], "opset", {FIRST, NUMBER_2})
    if opset.text(FIRST):
        raise GraphError(f"operators of the domain {shown(opset.text(FIRST))}")
    if opset.number(NUMBER_2) not in OPSETS:
        raise GraphError(f"its opset is not one of {OPSETS[0]} to {OPSETS[-1]}")
    return model.place(GRAPH)


@functools.lru_cache(maxsize=4096)
def _operation(content: bytes) -> Tuple[str, Dict[str, Any]]:
    """Operator and attributes of a node, from the end of its message: few differ."""
    node = Message(content, (0, len(content)), "node", {OPERATOR, DOC_STRING, DOMAIN}, (ATTRIBUTE,))
    operator = node.text(OPERATOR)
    if operator not in OPERATORS or node.text(DOMAIN):
        raise GraphError(f"the operator {shown(operator)}, which no bundle may hold")
    attributes: Dict[str, Any] = {}
    for place in node.all(ATTRIBUTE):
        name, value = _attribute(content, place, operator)
        if name in attributes:
            raise GraphError(f"{operator} with {name} twice")
        attributes[name] = value
    return operator, attributes


def _attribute(content: bytes, place: Field, operator: str) -> Tuple[str, Any]:
    single = {FIRST, KIND, 13 * 8 + BYTES}.union(VALUE_OF.values())
    attribute = Message(content, place, f"{operator} attribute", single, (VALUES,))
    name, kind = attribute.text(FIRST), attribute.number(KIND)
    if OPERATORS[operator].attributes.get(name) != kind:
        raise GraphError(f"{operator} with the attribute {shown(name)}, which no bundle may hold")
    stored = [tag for tag in VALUE_OF.values() if tag in attribute] + [VALUES] * bool(attribute.all(VALUES))
    if stored != [VALUE_OF.get(kind, VALUES)]:
        raise GraphError(f"{operator}: the attribute {name} is not what it says")
    if kind == TEXT:
        return name, attribute.text(stored[0])
    if kind == ONE_FLOAT:
        return name, struct.unpack_from("<f", content, attribute.number(stored[0]))[0]
    places = attribute.all(VALUES) if kind == INTS else [attribute.place(stored[0])]
    numbers = [number - 2**64 if number >> 63 else number for number, _ in places]  # they can be negative
    if any(abs(number) > LARGEST_NUMBER for number in numbers):
        raise GraphError(f"{operator}: {name} is beyond {LARGEST_NUMBER}")
    return name, numbers if kind == INTS else numbers[0]


@functools.lru_cache(maxsize=1024)
def _tensor_type(content: bytes) -> Value:
    """Type and shape of a value, from its TypeProto; the number of videos is `VIDEOS`."""
    place = Message(content, (0, len(content)), "type", {FIRST}).place(FIRST)
    tensor = Message(content, place, "tensor type", {NUMBER_1, SECOND})
    if NUMBER_1 not in tensor or SECOND not in tensor:
        raise GraphError("a value without a type or shape")
    sizes = []
    for i, place in enumerate(Message(content, tensor.place(SECOND), "shape", set(), (FIRST,)).all(FIRST)):
        size = Message(content, place, "dimension", {NUMBER_1, SECOND})
        named = SECOND in size
        if named == (NUMBER_1 in size) or (named and (i > 0 or not size.text(SECOND))):
            raise GraphError("a value with a free dimension other than its first")
        sizes.append(VIDEOS if named else _bounded((size.number(NUMBER_1),))[0])
    if len(sizes) > RANK:
        raise GraphError(f"a value of {len(sizes)} dimensions")
    return tensor.number(NUMBER_1), tuple(sizes)


def _bounded(shape: Shape) -> Shape:
    """A shape as it is stored."""
    if len(shape) > RANK or not all(0 < size < VIDEOS for size in shape):
        raise GraphError(f"the shape {shown_shapes(shape)}")
    return shape


class _Graph:
    """A graph's tables, and what is known of its values while its nodes are gone through."""

    def __init__(self, data: memoryview, frames: Optional[int]) -> None:
        self._data, self._frames = data, frames
        self._graph = Message(data, _graph_of(data), "graph", GRAPH_FIELDS, GRAPH_LISTS)
        self._values: Dict[str, Value] = {}
        self._counts: Dict[str, int] = {}  # of numbers in them
        self._stored: Dict[str, Field] = {}  # where tensors' data lie
        self._constant: Set[str] = set()  # what follows from stored tensors alone
        self._positions: Set[str] = set()  # the input of that name, in whatever shape and type

    def check(self) -> None:
        if not PLAIN_NAME.fullmatch(self._graph.text(GRAPH_NAME)):
            raise GraphError("the graph's name is not plain")  # libraries name files by it
        for place in self._graph.all(INITIALIZER):
            self._read_tensor(place)
        self._constant.update(self._stored)
        weights = sum(self._counts.values())
        live = 0
        for place in self._graph.all(INPUT):
            name, (kind, shape) = self._value_info(place)
            if kind != FLOAT:
                raise GraphError(f"the input {shown(name)} is not float32")
            if name == POSITION:
                self._positions.add(name)
            live += self._define(name, (kind, shape))
            if live > ELEMENTS:
                raise GraphError(f"the input {shown(name)} is too large, {shown_shapes(shape)}")
        outputs = [self._value_info(place) for place in self._graph.all(OUTPUT)]
        nodes, names = [], 0
        for place in self._graph.all(NODE):
            nodes.append(self._node(*place))
            names += len(nodes[-1].inputs) + len(nodes[-1].outputs)
            if names > MOST_NAMES:
                raise GraphError(f"nodes with more than {MOST_NAMES} inputs and outputs")
        self._check_nodes(nodes, [name for name, _ in outputs], live, weights)
        if len({name for name, _ in outputs}) < len(outputs):
            raise GraphError("an output twice")
        for name, value in outputs + [self._value_info(place) for place in self._graph.all(VALUE_INFO)]:
            if self._values.get(name) != value:
                raise GraphError(f"{shown(name)} is not of the type and shape that the graph says")
        if any(value[0] != FLOAT for _, value in outputs):
            raise GraphError("an output that is not float32")

    def numbers(self, name: str) -> List[int]:
        """What a stored tensor of sizes or axes holds."""
        start, end = self._stored.get(name, (0, 0))
        if start == end or self._values[name][0] != INT64 or end - start > LONGEST_INDICES:
            raise GraphError("its sizes or axes are not stored as such")
        return list(struct.unpack(f"<{(end - start) // 8}q", self._data[start:end]))

    def is_stored(self, name: str) -> bool:
        return name in self._stored

    def _define(self, name: str, value: Value) -> int:
        """Take in a new value. Returns how many numbers it has."""
        if not name or name in self._values:
            raise GraphError(f"the value {shown(name)} twice")
        self._values[name] = value
        return self._counts.setdefault(name, count(value[1]))

    def _value_info(self, place: Field) -> Tuple[str, Value]:
        value = Message(self._data, place, "value", {FIRST, SECOND} | tags(BYTES, 3))
        start, end = value.place(SECOND)
        if end - start > LONGEST_PART:
            raise GraphError(f"a type of {end - start} bytes")
        return value.text(FIRST), _tensor_type(bytes(self._data[start:end]))

    def _read_tensor(self, place: Field) -> None:
        tensor = Message(self._data, place, "tensor", TENSOR_FIELDS, (DIMS, EXTERNAL))
        name, kind = tensor.text(TENSOR_NAME), tensor.number(DATA_TYPE)
        if tensor.all(EXTERNAL) or tensor.number(LOCATION):
            raise GraphError(f"the tensor {shown(name)} lies in another file")
        if kind not in ITEM_SIZES:
            raise GraphError(f"the tensor {shown(name)} is of a type that no bundle may hold")
        shape = _bounded(tuple([size for size, _ in tensor.all(DIMS)]))
        expected = self._define(name, (kind, shape))
        stored = [tag for tag in (FLOAT_DATA, INT32_DATA, RAW_DATA) if tag in tensor]
        start, end = tensor.place(stored[0]) if len(stored) == 1 else (0, 0)
        if stored == [INT32_DATA] and kind == INT8:  # as numbers, of which only the last byte is below 128
            ends = bytes(self._data[start:end]).translate(None, bytes(range(128, 256)))
            whole = len(ends) == expected and self._data[end - 1] < 128
        else:
            whole = end - start == expected * ITEM_SIZES[kind] and (stored == [RAW_DATA] or kind == FLOAT)
        if not whole or (stored == [INT32_DATA] and kind != INT8):
            raise GraphError(f"the tensor {shown(name)} does not hold {shown_shapes(shape)} numbers")
        self._stored[name] = (start, end)

    def _node(self, start: int, end: int) -> Node:
        data = bytes(self._data[start:end]) if end - start <= LONGEST_NODE else b""
        names: Dict[int, List[str]] = {FIRST: [], SECOND: [], NODE_NAME: []}
        at, end, tag = 0, len(data), 0
        while at < end and data[at] in names and data[at] >= tag:
            tag = data[at]
            size, at = read_number(data, at + 1)
            names[tag].append(data[at : at + size].decode("utf-8"))
            at += size
        if not 0 < end - at <= LONGEST_PART or len(names[NODE_NAME]) > 1:
            raise GraphError(CUT_OFF)
        return Node(self, names[FIRST], names[SECOND], *_operation(data[at:]))

    def _check_nodes(self, nodes: List[Node], outputs: List[str], live: int, weights: int) -> None:
        last = {name: i for i, node in enumerate(nodes) for name in node.inputs}
        last.update(dict.fromkeys(outputs, len(nodes)))
        work = folded = used = 0
        for i, node in enumerate(nodes):
            try:
                kind, shapes = self._result(node)
                counts = [self._define(name, (kind, shape)) for name, shape in zip(node.outputs, shapes)]
                if max(map(len, shapes)) > RANK:
                    raise GraphError(f"a value of more than {RANK} dimensions")
                work += node.work + OPERATORS[node.operator].cost * sum(counts)
                if self._constant.issuperset(node.inputs):  # computed when the graph is opened, and kept
                    self._constant.update(node.outputs)
                    folded += sum(counts)
                elif max(counts) > ELEMENTS:
                    raise GraphError(f"too large, {shown_shapes(shapes[0])}")
                else:
                    live += sum(counts)
                if live > LIVE:
                    raise GraphError("with it too many numbers are in use")
                # A Q/DQ pair makes two of a weight, and three nodes read these. What many nodes share, ONNX Runtime may
                # copy for each, such as to fold a batch norm into it.
                used += sum([self._counts[name] for name in node.inputs if name in self._constant])
                if folded > 2 * weights + SMALL or used > 4 * weights + SMALL:
                    raise GraphError("with it too many nodes share their weights")
                if work > WORK:
                    raise GraphError("with it the graph computes too much")
            except GraphError as error:
                raise GraphError(f"{node.operator} {shown(''.join(node.outputs[:1]))}: {error}") from None
            for name in set(node.inputs + node.outputs) - self._constant:
                if last.get(name, i) == i and name:
                    live -= self._counts[name]

    def _result(self, node: Node) -> Tuple[int, List[Shape]]:
        """Type and shapes of what a node gives."""
        operator = OPERATORS[node.operator]
        if not operator.least <= len(node.inputs) <= operator.most:
            raise GraphError(f"{len(node.inputs)} inputs")
        if len(node.outputs) != 1 and (node.operator != "Split" or not node.outputs):
            raise GraphError(f"{len(node.outputs)} outputs")
        for i, name in enumerate(node.inputs):
            left_out = not name and i >= operator.least and node.operator in OPTIONAL
            if name not in self._values and not left_out:
                raise GraphError(f"nothing before it gives {shown(name)}")
        node.values = [self._values.get(name, LEFT_OUT) for name in node.inputs]
        kind, made = operator.type(node), operator.shape(node)
        self._check_integers(node, kind)
        return kind, made if isinstance(made, list) else [made]

    def _check_integers(self, node: Node, kind: int) -> None:
        """The only integers that are computed are the number of a frame."""
        first = node.inputs[0]
        if first in self._positions and (node.operator in VIEWS or node.operator == "Cast"):
            self._positions.add(node.outputs[0])
        elif kind in INDICES:
            raise GraphError("computes integers")
        if node.operator == "Gather" and node.inputs[1] not in self._stored:
            chosen = self._values[first][1][0]
            if first not in self._stored or node.inputs[1] not in self._positions or node.attributes.get("axis", 0):
                raise GraphError("its indices are computed")
            if self._frames is not None and chosen < self._frames:
                raise GraphError(f"holds weights of {chosen} frames, a video has {self._frames}")
