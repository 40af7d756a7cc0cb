"""What each operator that exports write makes of its inputs: type, shapes and work, without running it."""

from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from tlee.protobuf import GraphError

RANK = 8  # dimensions of a value, at most
LARGEST_NUMBER = 2**16  # in an attribute
# What computing one number takes in ONNX Runtime on a core, in multiply-accumulates of a large convolution: where it
# computes many at once, where it looks for each operand, and where it goes number by number.
FAST, SPREAD, SLOW = 32, 256, 1024
CALL = 2**14  # what computing one matrix or group takes at least
NARROW = 32  # rows or columns below which multiplying takes as long as with these
TAP = 128  # what reading one number under a pool's window takes
# Stands for the number of videos: above all sizes, so that no other dimension and no product of some is like it.
VIDEOS = 2**31 - 1
FLOAT, INT8, INT32, INT64, BOOL, HALF = 1, 3, 6, 7, 9, 10
FLOATS, INDICES = (FLOAT, HALF), (INT32, INT64)
ONE_FLOAT, ONE_INT, TEXT, INTS = 1, 2, 3, 7  # kinds of attributes

Shape = Tuple[int, ...]
Value = Tuple[int, Shape]  # type and shape
Made = Tuple[int, List[Shape], int]  # type and shapes of a node's outputs, and what it takes beside writing these


def shape_shown(shape: Shape) -> str:
    return "({})".format(", ".join("N" if size == VIDEOS else str(size) for size in shape[: RANK + 1]))


def count(shape: Shape) -> int:
    """Numbers in a value, for one video."""
    product = _product(shape)
    return product // VIDEOS if shape and shape[0] == VIDEOS else product


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


class Node:
    """A node with what it reads."""

    __slots__ = ("operator", "inputs", "outputs", "attributes", "values", "_graph")

    def __init__(self, graph: Any, inputs: List[str], outputs: List[str], operation: Tuple[str, Any]) -> None:
        self._graph, self.inputs, self.outputs = graph, inputs, outputs
        self.operator, self.attributes = operation
        self.values: List[Any] = []  # of its inputs, a `Value` each; None for one left out

    def shape(self, i: int) -> Shape:
        return self.values[i][1]

    def kind(self) -> int:
        """The type that all of its inputs have."""
        kind = self.values[0][0]
        if kind not in FLOATS or any(value and value[0] != kind for value in self.values):
            raise GraphError("its inputs are not all of one type, float32 or float16")
        return kind

    def numbers(self, i: int) -> List[int]:
        """What an input holds: sizes or axes."""
        return self._graph.numbers(self.inputs[i])

    def stored(self, i: int) -> bool:
        return self._graph.stores(self.inputs[i])

    def shape_attribute(self, name: str, default: Sequence[int], least: int) -> Sequence[int]:
        """A size for each of the `default`'s."""
        sizes = self.attributes.get(name, default)
        if len(sizes) != len(default) or min(sizes) < least:
            raise GraphError(f"its {name} are {sizes}")
        return sizes


def _same(node: Node) -> Made:
    return node.kind(), [node.shape(0)], 0


def _view(node: Node, shape: Shape) -> Made:
    kind = node.values[0][0]
    if kind not in FLOATS + INDICES:
        raise GraphError("of a type that no bundle may hold")
    if VIDEOS in shape[1:] or (VIDEOS in node.shape(0)) != (VIDEOS in shape) or count(shape) != count(node.shape(0)):
        raise GraphError(f"from {shape_shown(node.shape(0))} to {shape_shown(shape)}")
    return kind, [shape], 0


def _identity(node: Node) -> Made:
    return _view(node, node.shape(0))


def _broadcast(node: Node) -> Made:
    shapes = [value[1] for value in node.values]
    made = _broadcast_shape(shapes)
    return node.kind(), [made], 0 if all(shape in (made, ()) for shape in shapes) else SPREAD * count(made)


def _multiplied(macs: int, matrices: int, rows: int, columns: int) -> int:
    """What so many multiply-accumulates take: where a matrix is narrow each takes longer."""
    return macs * max(1, NARROW // rows) * max(1, NARROW // columns) + matrices * CALL


def _broadcast_shape(shapes: List[Shape]) -> Shape:
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes]):
        found = set(sizes) - {1}
        if len(found) > 1:
            raise GraphError("{} do not fit together".format(" and ".join(map(shape_shown, shapes))))
        result.append(found.pop() if found else 1)
    return tuple(result)


def _compare(node: Node) -> Made:
    return BOOL, _broadcast(node)[1], 0


def _where(node: Node) -> Made:
    kinds = [value[0] for value in node.values]
    if kinds[0] != BOOL or kinds[1] not in FLOATS or kinds[1] != kinds[2]:
        raise GraphError("chooses between values of different types")
    return kinds[1], [_broadcast_shape([value[1] for value in node.values])], 0


def _clip(node: Node) -> Made:
    if any(value and value[1] for value in node.values[1:]):
        raise GraphError("its bounds are not single numbers")
    return _same(node)


def _prelu(node: Node) -> Made:
    if _broadcast_shape([node.shape(0), node.shape(1)]) != node.shape(0):
        raise GraphError("its slopes do not fit")
    return _same(node)


def _cast(node: Node) -> Made:
    kind, to = node.values[0][0], node.attributes.get("to")
    if to not in FLOATS + INDICES or kind not in FLOATS + (BOOL,):
        raise GraphError("from or to a type that no bundle may hold")
    return to, [node.shape(0)], 0


def _normalise(node: Node) -> Made:
    shape = node.shape(0)
    if len(shape) < 2 or any(value[1] != shape[1:2] for value in node.values[1:]):
        raise GraphError("its numbers are not one for each channel")
    return _same(node)


def _softmax(node: Node) -> Made:
    _axis(node.attributes.get("axis", -1), len(node.shape(0)))
    return _same(node)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise GraphError(f"axis {axis} of {rank}")
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> List[int]:
    found = [_axis(axis, rank) for axis in axes]
    if len(set(found)) < len(found) or not found:
        raise GraphError(f"its axes are {axes}")
    return found


def _reduce(node: Node) -> Made:
    shape = node.shape(0)
    stored = node.numbers(1) if len(node.values) > 1 else node.attributes.get("axes", range(len(shape)))
    axes, keep = _axes(stored, len(shape)), node.attributes.get("keepdims", 1)
    if node.values[0][0] not in FLOATS:
        raise GraphError("of a type that no bundle may hold")
    left = [1 if i in axes else size for i, size in enumerate(shape) if keep or i not in axes]
    return node.values[0][0], [tuple(left)], SLOW // 2 * count(shape)


def _concat(node: Node) -> Made:
    shape = list(node.shape(0))
    axis = _axis(node.attributes.get("axis", RANK), len(shape))
    for _, other in node.values:
        if (
            other[:axis] != tuple(shape[:axis])
            or other[axis + 1 :] != tuple(shape[axis + 1 :])
            or other[axis] == VIDEOS
        ):
            raise GraphError(f"{shape_shown(tuple(shape))} and {shape_shown(other)} do not fit together")
    shape[axis] = sum(other[axis] for _, other in node.values)
    return node.kind(), [tuple(shape)], 0


def _flatten(node: Node) -> Made:
    shape, axis = node.shape(0), node.attributes.get("axis", 1)
    if not 0 <= axis <= len(shape):
        raise GraphError(f"axis {axis} of {len(shape)}")
    sides = [shape[:axis], shape[axis:]]
    return _view(node, tuple(VIDEOS if side == (VIDEOS,) else _product(side) for side in sides))


def _reshape(node: Node) -> Made:
    shape, wanted = node.shape(0), node.numbers(1)
    if any(size < -1 or (size == 0 and i >= len(shape)) for i, size in enumerate(wanted)) or wanted.count(-1) > 1:
        raise GraphError(f"to {wanted}")
    sizes = [shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    if -1 in sizes:
        i = sizes.index(-1)
        sizes[i] = _product(shape) // _product(sizes[:i] + sizes[i + 1 :])
    return _view(node, tuple(sizes))


def _squeeze(node: Node) -> Made:
    shape = node.shape(0)
    axes = _axes(node.numbers(1), len(shape))
    return _view(node, tuple(size for i, size in enumerate(shape) if i not in axes))


def _unsqueeze(node: Node) -> Made:
    sizes, added = list(node.shape(0)), node.numbers(1)
    for axis in sorted(_axes(added, len(sizes) + len(added))):
        sizes.insert(axis, 1)
    return _view(node, tuple(sizes))


def _transpose(node: Node) -> Made:
    shape, order = node.shape(0), node.attributes.get("perm", ())
    if sorted(order) != list(range(len(shape))):
        raise GraphError(f"its order is {order}")
    return node.kind(), [tuple(shape[i] for i in order)], 0


def _slice(node: Node) -> Made:
    shape, (starts, ends, *more) = list(node.shape(0)), [node.numbers(i) for i in range(1, len(node.values))]
    axes = _axes(more[0] if more else range(len(starts)), len(shape))
    steps = more[1] if len(more) > 1 else [1] * len(axes)
    lengths = {len(starts), len(ends), len(axes), len(steps)}
    if len(lengths) > 1 or 0 in steps or max(map(abs, steps)) > LARGEST_NUMBER:
        raise GraphError("its starts, ends and steps do not fit")
    for start, stop, axis, step in zip(starts, ends, axes, steps):
        size = shape[axis]
        if size == VIDEOS:
            raise GraphError("takes some of the videos")
        shape[axis] = len(range(*slice(start, stop, step).indices(size)))
        if not shape[axis]:
            raise GraphError("takes nothing")
    return _view_of_part(node, shape)


def _view_of_part(node: Node, shape: Sequence[int]) -> Made:
    if node.values[0][0] not in FLOATS:
        raise GraphError("of a type that no bundle may hold")
    return node.values[0][0], [tuple(shape)], 0


def _split(node: Node) -> Made:
    shape, count = node.shape(0), len(node.outputs)
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    sizes = node.numbers(1) if len(node.values) > 1 else [shape[axis] // count] * count
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1 or shape[axis] == VIDEOS:
        raise GraphError(f"{shape[axis]} into {sizes}")
    parts = [shape[:axis] + (size,) + shape[axis + 1 :] for size in sizes]
    return _view_of_part(node, shape)[0], parts, 0


def _expand(node: Node) -> Made:
    wanted = tuple(node.numbers(1))
    if min(wanted) < 1 or VIDEOS in wanted:
        raise GraphError(f"to {wanted}")
    return _view_of_part(node, _broadcast_shape([node.shape(0), wanted]))


def _gather(node: Node) -> Made:
    (kind, shape), (indices_kind, indices) = node.values
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    if indices_kind not in INDICES or kind not in FLOATS or shape[axis] == VIDEOS:
        raise GraphError("of types that no bundle may hold")
    chosen = node.numbers(1) if node.stored(1) else [0]
    if min(chosen) < -shape[axis] or max(chosen) >= shape[axis]:
        raise GraphError(f"an index is not among {shape[axis]}")
    return kind, [shape[:axis] + indices + shape[axis + 1 :]], 0


def _pad(node: Node) -> Made:
    shape, pads, mode = node.shape(0), node.numbers(1), node.attributes.get("mode", "constant")
    if len(pads) != 2 * len(shape) or min(pads) < 0 or mode not in ("constant", "edge", "reflect"):
        raise GraphError(f"{mode} by {pads}")
    if mode == "reflect" and any(pad >= size for pad, size in zip(pads, shape + shape)):
        raise GraphError(f"reflects more than there is, {pads}")
    if len(node.values) > 2 and node.values[2] not in (None, (node.values[0][0], ())):
        raise GraphError("with something that is not a number")
    around = [pads[i] + pads[i + len(shape)] for i in range(len(shape))]
    if shape[0] == VIDEOS and around[0]:
        raise GraphError("adds videos")
    return _view_of_part(node, [size + more for size, more in zip(shape, around)])


def _windows(node: Node, sizes: Shape, kernel: Sequence[int]) -> Shape:
    """Of how many places a window is moved to along each dimension."""
    rank = len(sizes)
    pads = node.shape_attribute("pads", [0] * (2 * rank), 0)
    strides = node.shape_attribute("strides", [1] * rank, 1)
    dilations = node.shape_attribute("dilations", [1] * rank, 1)
    up, places = node.attributes.get("ceil_mode", 0), []
    for i, size in enumerate(sizes):
        room = size + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1
        places.append((room + (strides[i] - 1 if up else 0)) // strides[i] + 1)
        # Of a window that would lie behind the map, releases differ in whether it counts.
        if room < 0 or (up and (places[i] - 1) * strides[i] >= size + pads[i]):
            raise GraphError(f"its windows do not fit on {shape_shown(sizes)}")
    return tuple(places)


def _conv(node: Node) -> Made:
    shape, weight, group = node.shape(0), node.shape(1), node.attributes.get("group", 1)
    if not 3 <= len(shape) == len(weight) <= 5 or group < 1 or shape[1] != weight[1] * group or weight[0] % group:
        raise GraphError(f"weights {shape_shown(weight)} on {shape_shown(shape)}")
    if len(node.values) > 2 and node.shape(2) != weight[:1] or VIDEOS in weight:
        raise GraphError("its weights or bias do not fit")
    if list(node.attributes.get("kernel_shape", weight[2:])) != list(weight[2:]):
        raise GraphError("its kernel is not that of its weights")
    made = shape[:1] + weight[:1] + _windows(node, shape[2:], weight[2:])
    macs = count(made) * _product(weight[1:])
    return node.kind(), [made], _multiplied(macs, group, weight[0] // group, _product(made[2:]))


def _pool(node: Node) -> Made:
    shape, kernel = node.shape(0), node.attributes.get("kernel_shape", ())
    if not 3 <= len(shape) <= 5 or len(kernel) != len(shape) - 2 or min(kernel) < 1:
        raise GraphError(f"its kernel is {kernel}")
    if any(pad >= size for pad, size in zip(node.attributes.get("pads", ()), list(kernel) * 2)):
        raise GraphError("its border is wider than its kernel")
    made = shape[:2] + _windows(node, shape[2:], kernel)
    return node.kind(), [made], TAP * count(made) * _product(kernel)


def _global_pool(node: Node) -> Made:
    shape = node.shape(0)
    if len(shape) < 3:
        raise GraphError(f"of {shape_shown(shape)}")
    return node.kind(), [shape[:2] + (1,) * (len(shape) - 2)], FAST * count(shape)


def _gemm(node: Node) -> Made:
    a, b = node.shape(0), node.shape(1)
    if len(a) != 2 or len(b) != 2 or node.attributes.get("transA", 0):
        raise GraphError(f"of {shape_shown(a)} and {shape_shown(b)}")
    b = b[::-1] if node.attributes.get("transB", 0) else b
    made = a[0], b[1]
    if a[1] != b[0] or (len(node.values) > 2 and _broadcast_shape([made, node.shape(2)]) != made):
        raise GraphError(f"of {shape_shown(a)} and {shape_shown(b)}")
    return node.kind(), [made], _multiplied(count(made) * a[1], 1, 1 if a[0] == VIDEOS else a[0], b[1])


def _matmul(node: Node) -> Made:
    a, b = node.shape(0), node.shape(1)
    if min(len(a), len(b)) < 2 or a[-1] != b[-2] or a[-1] == VIDEOS:
        raise GraphError(f"of {shape_shown(a)} and {shape_shown(b)}")
    made = _broadcast_shape([a[:-2], b[:-2]]) + (a[-2], b[-1])
    rows = 1 if a[-2] == VIDEOS else a[-2]
    return node.kind(), [made], _multiplied(count(made) * a[-1], count(made[:-2]), rows, b[-1])


def _quantise(node: Node) -> Made:
    return _quantised(node, FLOAT, INT8)


def _dequantise(node: Node) -> Made:
    return _quantised(node, INT8, FLOAT)


def _quantised(node: Node, kind: int, to: int) -> Made:
    (found, shape), scale, zero = node.values
    of_channels = shape[_axis(node.attributes["axis"], len(shape)) :][:1] if "axis" in node.attributes else ()
    if found != kind or scale != (FLOAT, of_channels) or zero != (INT8, of_channels):
        raise GraphError("its scales are not one, or one for each channel")
    return to, [shape], 0


class Operator(NamedTuple):
    """What exports write: what it gives, from how many inputs to how many it takes, its attributes by their kinds, and
    what writing each number takes."""

    rule: Callable[[Node], Made]
    least: int
    most: int
    attributes: Dict[str, int]
    cost: int = FAST


WINDOW = {"kernel_shape": INTS, "pads": INTS, "strides": INTS, "dilations": INTS}
POOL = dict(WINDOW, ceil_mode=ONE_INT)
REDUCE = {"axes": INTS, "keepdims": ONE_INT}
GEMM = {"alpha": ONE_FLOAT, "beta": ONE_FLOAT, "transA": ONE_INT, "transB": ONE_INT}
AXIS, ALPHA, EPSILON = {"axis": ONE_INT}, {"alpha": ONE_FLOAT}, {"epsilon": ONE_FLOAT}
MANY = 64  # inputs
NONE: Dict[str, int] = {}
QUICK = ("Abs", "Neg", "Reciprocal", "Relu", "Sigmoid", "Tanh")
GRADUAL = ("Erf", "Exp", "Log", "Softplus", "Softsign", "Sqrt")
OPTIONAL = ("Clip", "Pad")  # their last inputs may be left out before others
VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
# All that exports of this project's models write, and what other plain networks for pictures need. Nothing here makes a
# size from a value, chooses what to run, or runs again.
OPERATORS = {
    "AveragePool": Operator(_pool, 1, 1, dict(POOL, count_include_pad=ONE_INT)),
    "BatchNormalization": Operator(_normalise, 5, 5, dict(EPSILON, momentum=ONE_FLOAT)),
    "Cast": Operator(_cast, 1, 1, {"to": ONE_INT}),
    "Celu": Operator(_same, 1, 1, ALPHA, SLOW),
    "Clip": Operator(_clip, 1, 3, NONE),
    "Concat": Operator(_concat, 1, MANY, AXIS),
    "Conv": Operator(_conv, 2, 3, dict(WINDOW, group=ONE_INT)),
    "DequantizeLinear": Operator(_dequantise, 3, 3, AXIS),
    "Elu": Operator(_same, 1, 1, ALPHA, SLOW),
    "Expand": Operator(_expand, 2, 2, NONE, SLOW),
    "Flatten": Operator(_flatten, 1, 1, AXIS),
    "Gather": Operator(_gather, 2, 2, AXIS, SLOW),
    "Gemm": Operator(_gemm, 2, 3, GEMM),
    "HardSigmoid": Operator(_same, 1, 1, dict(ALPHA, beta=ONE_FLOAT)),
    "Identity": Operator(_identity, 1, 1, NONE),
    "InstanceNormalization": Operator(_normalise, 3, 3, EPSILON, SLOW),
    "LeakyRelu": Operator(_same, 1, 1, ALPHA),
    "LogSoftmax": Operator(_softmax, 1, 1, AXIS, SLOW),
    "MatMul": Operator(_matmul, 2, 2, NONE),
    "MaxPool": Operator(_pool, 1, 1, POOL),
    "PRelu": Operator(_prelu, 2, 2, NONE),
    "Pad": Operator(_pad, 2, 3, {"mode": TEXT}, SLOW),
    "QuantizeLinear": Operator(_quantise, 3, 3, AXIS),
    "ReduceSum": Operator(_reduce, 2, 2, {"keepdims": ONE_INT}, SLOW),
    "Reshape": Operator(_reshape, 2, 2, NONE),
    "Selu": Operator(_same, 1, 1, {"alpha": ONE_FLOAT, "gamma": ONE_FLOAT}, SLOW),
    "Slice": Operator(_slice, 3, 5, NONE, SLOW),
    "Softmax": Operator(_softmax, 1, 1, AXIS, SLOW),
    "Split": Operator(_split, 1, 2, AXIS, SLOW),
    "Squeeze": Operator(_squeeze, 2, 2, NONE),
    "Transpose": Operator(_transpose, 1, 1, {"perm": INTS}, SLOW),
    "Unsqueeze": Operator(_unsqueeze, 2, 2, NONE),
    "Where": Operator(_where, 3, 3, NONE, SLOW),
}
OPERATORS.update({name: Operator(_same, 1, 1, NONE) for name in QUICK})
OPERATORS.update({name: Operator(_same, 1, 1, NONE, SLOW) for name in GRADUAL})
OPERATORS.update({name: Operator(_broadcast, 2, 2, NONE) for name in ("Add", "Sub", "Mul", "Div")})
OPERATORS["Pow"] = Operator(_broadcast, 2, 2, NONE, SLOW)
OPERATORS.update({name: Operator(_broadcast, 1, MANY, NONE) for name in ("Max", "Min")})
OPERATORS.update({name: Operator(_compare, 2, 2, NONE) for name in ("Greater", "Less", "Equal")})
OPERATORS.update(
    {name: Operator(_reduce, 1, 1, REDUCE, SLOW) for name in ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin")}
)
OPERATORS.update({name: Operator(_global_pool, 1, 1, NONE, SLOW) for name in ("GlobalAveragePool", "GlobalMaxPool")})
