"""The shape of what each operator gives, from its inputs and without running it; `tlee.operators` assigns the rules."""

from typing import Any, Dict, List, Sequence, Tuple, Union

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

Shape = Tuple[int, ...]
Value = Tuple[int, Shape]  # type and shape
LEFT_OUT: Value = (0, ())
Made = Union[Shape, List[Shape]]  # of a node's only output, or of all


class Node:
    """A node, the `values` of its inputs (`LEFT_OUT` for one that is not given), and the `work` of computing it besides
    writing its outputs."""

    __slots__ = ("operator", "inputs", "outputs", "attributes", "values", "work", "_graph")

    def __init__(self, graph: Any, inputs: List[str], outputs: List[str], operator: str, attributes: Dict[str, Any]):
        self._graph, self.inputs, self.outputs = graph, inputs, outputs
        self.operator, self.attributes = operator, attributes
        self.values: List[Value] = []
        self.work = 0

    def shape(self, i: int) -> Shape:
        return self.values[i][1]

    def axis(self, default: int) -> int:
        return axis_of(self.attributes.get("axis", default), len(self.shape(0)))

    def numbers(self, i: int) -> List[int]:
        """What an input holds: sizes or axes."""
        return list(self._graph.numbers(self.inputs[i]))

    def sizes(self, name: str, default: Sequence[int], least: int) -> Sequence[int]:
        """An attribute that has as many numbers as its default."""
        sizes: Sequence[int] = self.attributes.get(name, default)
        if len(sizes) != len(default) or min(sizes) < least:
            raise GraphError(f"its {name} are {sizes}")
        return sizes

    def multiply(self, macs: int, matrices: int, rows: int, columns: int) -> None:
        """Count so many multiply-accumulates as work: where a matrix is narrow each takes longer."""
        rows = 1 if rows == VIDEOS else rows
        self.work = macs * max(1, NARROW // rows) * max(1, NARROW // columns) + matrices * CALL

    def is_stored(self, i: int) -> bool:
        return bool(self._graph.is_stored(self.inputs[i]))


def shown_shapes(*shapes: Shape) -> str:
    texts = (", ".join("N" if size == VIDEOS else str(size) for size in shape[: RANK + 1]) for shape in shapes)
    return " and ".join(f"({text})" for text in texts)


def count(shape: Shape) -> int:
    """Numbers in a value, for one video."""
    return product(shape[1:] if shape[:1] == (VIDEOS,) else shape)


def product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


def axis_of(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise GraphError(f"axis {axis} of {rank}")
    return axis % rank


def _axes(axes: Sequence[int], rank: int) -> List[int]:
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found) or not found:
        raise GraphError(f"its axes are {axes}")
    return found


def _broadcast_shape(shapes: List[Shape]) -> Shape:
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (rank - len(shape)) + shape for shape in shapes]):
        found = set(sizes) - {1}
        if len(found) > 1:
            raise GraphError(f"{shown_shapes(*shapes)} do not fit together")
        result.append(found.pop() if found else 1)
    return tuple(result)


def same(node: Node) -> Shape:
    return node.shape(0)


def broadcast(node: Node) -> Shape:
    shapes = [value[1] for value in node.values]
    made = _broadcast_shape(shapes)
    if any(shape not in (made, ()) for shape in shapes):
        node.work = SPREAD * count(made)
    return made


def clip(node: Node) -> Shape:
    if any(value[1] for value in node.values[1:]):
        raise GraphError("its bounds are not single numbers")
    return node.shape(0)


def prelu(node: Node) -> Shape:
    if _broadcast_shape([node.shape(0), node.shape(1)]) != node.shape(0):
        raise GraphError("its slopes do not fit")
    return node.shape(0)


def normalise(node: Node) -> Shape:
    shape = node.shape(0)
    if len(shape) < 2 or any(value[1] != shape[1:2] for value in node.values[1:]):
        raise GraphError("its numbers are not one for each channel")
    return shape


def quantise(node: Node) -> Shape:
    shape = node.shape(0)
    of_channels = shape[node.axis(0) :][:1] if "axis" in node.attributes else ()
    if not node.shape(1) == node.shape(2) == of_channels:
        raise GraphError("its scales are not one, or one for each channel")
    return shape


def softmax(node: Node) -> Shape:
    node.axis(-1)
    return node.shape(0)


def reduce(node: Node) -> Shape:
    shape = node.shape(0)
    stored = node.numbers(1) if len(node.values) > 1 else node.attributes.get("axes", range(len(shape)))
    axes, keep = _axes(stored, len(shape)), node.attributes.get("keepdims", 1)
    node.work = SLOW // 2 * count(shape)
    return tuple(1 if i in axes else size for i, size in enumerate(shape) if keep or i not in axes)


def concat(node: Node) -> Shape:
    shape, axis = node.shape(0), node.axis(RANK)
    before, behind, size = shape[:axis], shape[axis + 1 :], 0
    for _, other in node.values:
        if other[:axis] != before or other[axis + 1 :] != behind or other[axis] == VIDEOS:
            raise GraphError(f"{shown_shapes(shape, other)} do not fit together")
        size += other[axis]
    return before + (size,) + behind


def _view(node: Node, shape: Shape) -> Shape:
    """The same numbers in another shape."""
    given = node.shape(0)
    if VIDEOS in shape[1:] or (VIDEOS in given) != (VIDEOS in shape) or count(shape) != count(given):
        raise GraphError(f"from {shown_shapes(given)} to {shown_shapes(shape)}")
    return shape


def identity(node: Node) -> Shape:
    return _view(node, node.shape(0))


def flatten(node: Node) -> Shape:
    shape, axis = node.shape(0), node.attributes.get("axis", 1)
    if not 0 <= axis <= len(shape):
        raise GraphError(f"axis {axis} of {len(shape)}")
    return _view(node, (product(shape[:axis]), product(shape[axis:])))


def reshape(node: Node) -> Shape:
    shape, wanted = node.shape(0), node.numbers(1)
    if any(size < -1 or (size == 0 and i >= len(shape)) for i, size in enumerate(wanted)) or wanted.count(-1) > 1:
        raise GraphError(f"to {wanted}")
    sizes = [shape[i] if size == 0 else size for i, size in enumerate(wanted)]
    if -1 in sizes:
        i = sizes.index(-1)
        sizes[i] = product(shape) // product(sizes[:i] + sizes[i + 1 :])
    return _view(node, tuple(sizes))


def squeeze(node: Node) -> Shape:
    shape = node.shape(0)
    axes = _axes(node.numbers(1), len(shape))
    return _view(node, tuple(size for i, size in enumerate(shape) if i not in axes))


def unsqueeze(node: Node) -> Shape:
    sizes, added = list(node.shape(0)), node.numbers(1)
    for axis in sorted(_axes(added, len(sizes) + len(added))):
        sizes.insert(axis, 1)
    return _view(node, tuple(sizes))


def transpose(node: Node) -> Shape:
    shape, order = node.shape(0), node.attributes.get("perm", ())
    if sorted(order) != list(range(len(shape))):
        raise GraphError(f"its order is {order}")
    return tuple(shape[i] for i in order)


def slices(node: Node) -> Shape:
    shape, (starts, ends, *more) = list(node.shape(0)), [node.numbers(i) for i in range(1, len(node.values))]
    axes = _axes(more[0] if more else range(len(starts)), len(shape))
    steps = more[1] if len(more) > 1 else [1] * len(axes)
    lengths = {len(starts), len(ends), len(axes), len(steps)}
    if len(lengths) > 1 or 0 in steps or max(map(abs, steps)) > LARGEST_NUMBER:
        raise GraphError("its starts, ends and steps do not fit")
    for start, stop, axis, step in zip(starts, ends, axes, steps):
        if shape[axis] == VIDEOS:
            raise GraphError("takes some of the videos")
        shape[axis] = len(range(*slice(start, stop, step).indices(shape[axis])))
        if not shape[axis]:
            raise GraphError("takes nothing")
    return tuple(shape)


def split(node: Node) -> List[Shape]:
    shape, parts, axis = node.shape(0), len(node.outputs), node.axis(0)
    sizes = node.numbers(1) if len(node.values) > 1 else [shape[axis] // parts] * parts
    if len(sizes) != parts or sum(sizes) != shape[axis] or min(sizes) < 1 or shape[axis] == VIDEOS:
        raise GraphError(f"{shape[axis]} into {sizes}")
    return [shape[:axis] + (size,) + shape[axis + 1 :] for size in sizes]


def expand(node: Node) -> Shape:
    wanted = tuple(node.numbers(1))
    if min(wanted) < 1 or VIDEOS in wanted:
        raise GraphError(f"to {wanted}")
    return _broadcast_shape([node.shape(0), wanted])


def gather(node: Node) -> Shape:
    shape, axis = node.shape(0), node.axis(0)
    if shape[axis] == VIDEOS:
        raise GraphError("of types that no bundle may hold")
    chosen = node.numbers(1) if node.is_stored(1) else [0]
    if min(chosen) < -shape[axis] or max(chosen) >= shape[axis]:
        raise GraphError(f"an index is not among {shape[axis]}")
    return shape[:axis] + node.shape(1) + shape[axis + 1 :]


def pad(node: Node) -> Shape:
    shape, pads, mode = node.shape(0), node.numbers(1), node.attributes.get("mode", "constant")
    if len(pads) != 2 * len(shape) or min(pads) < 0 or mode not in ("constant", "edge", "reflect"):
        raise GraphError(f"{mode} by {pads}")
    if mode == "reflect" and any(more >= size for more, size in zip(pads, shape + shape)):
        raise GraphError(f"reflects more than there is, {pads}")
    if len(node.values) > 2 and node.values[2] not in (LEFT_OUT, (node.values[0][0], ())):
        raise GraphError("with something that is not a number")
    around = [before + behind for before, behind in zip(pads, pads[len(shape) :])]
    if shape[0] == VIDEOS and around[0]:
        raise GraphError("adds videos")
    return tuple(size + more for size, more in zip(shape, around))


def _windows(node: Node, sizes: Shape, kernel: Sequence[int]) -> Shape:
    """How many positions a window takes along each dimension."""
    rank = len(sizes)
    pads = node.sizes("pads", [0] * (2 * rank), 0)
    strides = node.sizes("strides", [1] * rank, 1)
    dilations = node.sizes("dilations", [1] * rank, 1)
    up, places = node.attributes.get("ceil_mode", 0), []
    for i, size in enumerate(sizes):
        room = size + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1
        places.append((room + (strides[i] - 1 if up else 0)) // strides[i] + 1)
        # Of a window that would lie behind the map, releases differ in whether it counts.
        if room < 0 or (up and (places[i] - 1) * strides[i] >= size + pads[i]):
            raise GraphError(f"its windows do not fit on {shown_shapes(sizes)}")
    return tuple(places)


def conv(node: Node) -> Shape:
    shape, weight, group = node.shape(0), node.shape(1), node.attributes.get("group", 1)
    if not 3 <= len(shape) == len(weight) <= 5 or group < 1 or shape[1] != weight[1] * group or weight[0] % group:
        raise GraphError(f"weights {shown_shapes(weight)} on {shown_shapes(shape)}")
    if len(node.values) > 2 and node.shape(2) != weight[:1] or VIDEOS in weight:
        raise GraphError("its weights or bias do not fit")
    if list(node.attributes.get("kernel_shape", weight[2:])) != list(weight[2:]):
        raise GraphError("its kernel is not that of its weights")
    made = shape[:1] + weight[:1] + _windows(node, shape[2:], weight[2:])
    node.multiply(count(made) * product(weight[1:]), group, weight[0] // group, product(made[2:]))
    return made


def pool(node: Node) -> Shape:
    shape, kernel = node.shape(0), node.attributes.get("kernel_shape", ())
    if not 3 <= len(shape) <= 5 or len(kernel) != len(shape) - 2 or min(kernel) < 1:
        raise GraphError(f"its kernel is {kernel}")
    if any(more >= size for more, size in zip(node.attributes.get("pads", ()), list(kernel) * 2)):
        raise GraphError("its border is wider than its kernel")
    made = shape[:2] + _windows(node, shape[2:], kernel)
    node.work = TAP * count(made) * product(kernel)
    return made


def global_pool(node: Node) -> Shape:
    shape = node.shape(0)
    if len(shape) < 3:
        raise GraphError(f"of {shown_shapes(shape)}")
    node.work = FAST * count(shape)
    return shape[:2] + (1,) * (len(shape) - 2)


def gemm(node: Node) -> Shape:
    a, b = node.shape(0), node.shape(1)
    if len(a) != 2 or len(b) != 2 or node.attributes.get("transA", 0):
        raise GraphError(f"of {shown_shapes(a, b)}")
    b = b[::-1] if node.attributes.get("transB", 0) else b
    made = a[0], b[1]
    if a[1] != b[0] or (len(node.values) > 2 and _broadcast_shape([made, node.shape(2)]) != made):
        raise GraphError(f"of {shown_shapes(a, b)}")
    node.multiply(count(made) * a[1], 1, a[0], b[1])
    return made


def matmul(node: Node) -> Shape:
    a, b = node.shape(0), node.shape(1)
    if min(len(a), len(b)) < 2 or a[-1] != b[-2] or a[-1] == VIDEOS:
        raise GraphError(f"of {shown_shapes(a, b)}")
    made = _broadcast_shape([a[:-2], b[:-2]]) + (a[-2], b[-1])
    node.multiply(count(made) * a[-1], count(made[:-2]), a[-2], b[-1])
    return made
