"""The operators that a bundle's graphs may use, and the types of what they compute."""

from typing import Callable, Dict, NamedTuple, Tuple

from tlee import shape_rules as rules
from tlee.protobuf import GraphError
from tlee.shape_rules import FAST, LEFT_OUT, SLOW, Made, Node

FLOAT, INT8, INT32, INT64, BOOL, HALF = 1, 3, 6, 7, 9, 10  # types of numbers, and
ONE_FLOAT, ONE_INT, TEXT, INTS = 1, 2, 3, 7  # kinds of attributes, as ONNX numbers them
FLOATS, INDICES = (FLOAT, HALF), (INT32, INT64)
NOT_ALLOWED = "of a type that no bundle may hold"


def _one_type(node: Node) -> int:
    """The type of all inputs."""
    kind = node.values[0][0]
    if kind not in FLOATS or any(value[0] not in (kind, LEFT_OUT[0]) for value in node.values):
        raise GraphError("its inputs are not all of one type, float32 or float16")
    return kind


def _first_type(node: Node, kinds: Tuple[int, ...] = FLOATS) -> int:
    """The type of the first input; others are sizes, axes or indices."""
    if node.values[0][0] not in kinds:
        raise GraphError(NOT_ALLOWED)
    return node.values[0][0]


def _view_type(node: Node) -> int:
    return _first_type(node, FLOATS + INDICES)


def _indexed_type(node: Node) -> int:
    if node.values[1][0] not in INDICES:
        raise GraphError(NOT_ALLOWED)
    return _first_type(node)


def _compared_type(node: Node) -> int:
    _one_type(node)
    return BOOL


def _chosen_type(node: Node) -> int:
    condition, kind, other = [value[0] for value in node.values]
    if condition != BOOL or kind not in FLOATS or kind != other:
        raise GraphError("chooses between values of different types")
    return kind


def _cast_type(node: Node) -> int:
    to: int = node.attributes.get("to", 0)
    if to not in FLOATS + INDICES or node.values[0][0] not in FLOATS + (BOOL,):
        raise GraphError("from or to a type that no bundle may hold")
    return to


def _quantised_type(node: Node) -> int:
    kind, to = (FLOAT, INT8) if node.operator == "QuantizeLinear" else (INT8, FLOAT)
    if [value[0] for value in node.values] != [kind, FLOAT, INT8]:
        raise GraphError("its scales are not one, or one for each channel")
    return to


class Operator(NamedTuple):
    """An operator of ONNX.

    Attributes:
        shape, type: the rules for what it gives.
        least, most: how many inputs it takes.
        attributes: their kinds.
        cost: what writing each number takes.
    """

    shape: Callable[[Node], Made]
    least: int
    most: int
    attributes: Dict[str, int] = {}
    cost: int = FAST
    type: Callable[[Node], int] = _one_type


WINDOW = {"kernel_shape": INTS, "pads": INTS, "strides": INTS, "dilations": INTS}
POOL = dict(WINDOW, ceil_mode=ONE_INT)
REDUCE = {"axes": INTS, "keepdims": ONE_INT}
GEMM = {"alpha": ONE_FLOAT, "beta": ONE_FLOAT, "transA": ONE_INT, "transB": ONE_INT}
AXIS, ALPHA, EPSILON = {"axis": ONE_INT}, {"alpha": ONE_FLOAT}, {"epsilon": ONE_FLOAT}
MANY = 64  # inputs
OPTIONAL = ("Clip", "Pad")  # their last inputs may be left out before others
VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
# All that exports of this project's models write, and what other plain networks for pictures need. Nothing here makes a
# size from a value, chooses what to run, or runs again.
OPERATORS = {
    "AveragePool": Operator(rules.pool, 1, 1, dict(POOL, count_include_pad=ONE_INT)),
    "BatchNormalization": Operator(rules.normalise, 5, 5, dict(EPSILON, momentum=ONE_FLOAT)),
    "Cast": Operator(rules.same, 1, 1, {"to": ONE_INT}, type=_cast_type),
    "Celu": Operator(rules.same, 1, 1, ALPHA, SLOW),
    "Clip": Operator(rules.clip, 1, 3),
    "Concat": Operator(rules.concat, 1, MANY, AXIS),
    "Conv": Operator(rules.conv, 2, 3, dict(WINDOW, group=ONE_INT)),
    "DequantizeLinear": Operator(rules.quantise, 3, 3, AXIS, type=_quantised_type),
    "Elu": Operator(rules.same, 1, 1, ALPHA, SLOW),
    "Expand": Operator(rules.expand, 2, 2, {}, SLOW, _first_type),
    "Flatten": Operator(rules.flatten, 1, 1, AXIS, type=_view_type),
    "Gather": Operator(rules.gather, 2, 2, AXIS, SLOW, _indexed_type),
    "Gemm": Operator(rules.gemm, 2, 3, GEMM),
    "HardSigmoid": Operator(rules.same, 1, 1, dict(ALPHA, beta=ONE_FLOAT)),
    "Identity": Operator(rules.identity, 1, 1, type=_view_type),
    "InstanceNormalization": Operator(rules.normalise, 3, 3, EPSILON, SLOW),
    "LeakyRelu": Operator(rules.same, 1, 1, ALPHA),
    "LogSoftmax": Operator(rules.softmax, 1, 1, AXIS, SLOW),
    "MatMul": Operator(rules.matmul, 2, 2),
    "MaxPool": Operator(rules.pool, 1, 1, POOL),
    "PRelu": Operator(rules.prelu, 2, 2),
    "Pad": Operator(rules.pad, 2, 3, {"mode": TEXT}, SLOW, _first_type),
    "Pow": Operator(rules.broadcast, 2, 2, {}, SLOW),
    "QuantizeLinear": Operator(rules.quantise, 3, 3, AXIS, type=_quantised_type),
    "ReduceSum": Operator(rules.reduce, 2, 2, {"keepdims": ONE_INT}, SLOW, _first_type),
    "Reshape": Operator(rules.reshape, 2, 2, type=_view_type),
    "Selu": Operator(rules.same, 1, 1, {"alpha": ONE_FLOAT, "gamma": ONE_FLOAT}, SLOW),
    "Slice": Operator(rules.slices, 3, 5, {}, SLOW, _first_type),
    "Softmax": Operator(rules.softmax, 1, 1, AXIS, SLOW),
    "Split": Operator(rules.split, 1, 2, AXIS, SLOW, _first_type),
    "Squeeze": Operator(rules.squeeze, 2, 2, type=_view_type),
    "Transpose": Operator(rules.transpose, 1, 1, {"perm": INTS}, SLOW),
    "Unsqueeze": Operator(rules.unsqueeze, 2, 2, type=_view_type),
    "Where": Operator(rules.broadcast, 3, 3, {}, SLOW, _chosen_type),
}
for operator, names in (
    (Operator(rules.same, 1, 1), ("Abs", "Neg", "Reciprocal", "Relu", "Sigmoid", "Tanh")),
    (Operator(rules.same, 1, 1, {}, SLOW), ("Erf", "Exp", "Log", "Softplus", "Softsign", "Sqrt")),
    (Operator(rules.broadcast, 2, 2), ("Add", "Sub", "Mul", "Div")),
    (Operator(rules.broadcast, 1, MANY), ("Max", "Min")),
    (Operator(rules.broadcast, 2, 2, type=_compared_type), ("Greater", "Less", "Equal")),
    (Operator(rules.reduce, 1, 1, REDUCE, SLOW, _first_type), ("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin")),
    (Operator(rules.global_pool, 1, 1, {}, SLOW), ("GlobalAveragePool", "GlobalMaxPool")),
):
    OPERATORS.update(dict.fromkeys(names, operator))
