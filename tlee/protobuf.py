"""Protobuf by hand, as far as ONNX files need it: the device has no onnx package.

Nothing is copied but names, so a file of any size may be mapped. A tag is a field's number times eight plus how its
value is stored.
"""

from typing import Any, Dict, Sequence, Set, Tuple

NUMBER, BYTES, FOUR_BYTES = 0, 2, 5  # how
CUT_OFF = "cut off, or not an ONNX model"
CONTINUED = bytes(range(128, 256))  # a number goes on behind such a byte
Field = Tuple[int, int]  # where its bytes start and end; of a number the number, and 0
LONGEST_NAME = 2**10  # bytes
LONGEST_REASON = 200
LONGEST_LIST = 10000  # fields of one kind in a message: nodes, tensors
# What ONNX calls fields that are refused, by message and number.
REFUSED = {
    ("model", 14): "metadata",
    ("model", 20): "training",
    ("model", 25): "functions",
    ("graph", 14): "quantisation notes",
    ("graph", 15): "sparse tensors",
    ("tensor", 3): "segments",
    ("tensor", 6): "strings",
}


class GraphError(ValueError):
    """Why a graph is refused, in one line of at most `LONGEST_REASON` characters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 3] + "...")


def number(data: Any, at: int) -> Tuple[int, int]:
    """A number of several bytes, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise GraphError("a number of more than ten bytes")
    if value >> 64:
        raise GraphError("a number of more than 64 bits")
    return value, at


def message(data: Any, at: int, end: int, what: str, single: Set[int], several: Sequence[int] = ()) -> Dict[int, Any]:
    """The fields of a message by their tags: those of `single`, and as lists those of `several`.

    They have to be in the order of their numbers, as whatever writes them puts them.

    Raises:
        GraphError: it is cut off, holds another field, or one of `single` twice; says so of `what`.
    """
    found: Dict[int, Any] = {tag: [] for tag in several}
    before = 0
    while at < end:
        tag = data[at]
        at += 1
        if tag > 127:
            tag, at = number(data, at - 1)
        if tag < before or (tag == before and tag in single):
            raise GraphError("fields out of order, or one twice")
        before, kind = tag, tag & 7
        if kind in (BYTES, NUMBER):
            value = data[at]
            at += 1
            if value > 127:
                value, at = number(data, at - 1)
            field = (value, 0)
            if kind == BYTES:
                field = (at, at + value)
                at += value
        elif kind == FOUR_BYTES:
            field = (at, at + 4)
            at += 4
        else:
            raise GraphError(_unwritten(what, tag))
        if at > end:
            raise GraphError(CUT_OFF)
        if tag in single:
            found[tag] = field
        elif tag in found:
            found[tag].append(field)
            if len(found[tag]) > LONGEST_LIST:
                raise GraphError(f"a {what} with more than {LONGEST_LIST} of field {tag >> 3}")
        else:
            raise GraphError(_unwritten(what, tag))
    return found


def _unwritten(what: str, tag: int) -> str:
    known = REFUSED.get((what, tag >> 3), f"a field {tag >> 3} of kind {tag & 7}")
    return f"a {what} with {known}, which no bundle may hold"


def text(data: Any, field: Field) -> str:
    """A name. Raises GraphError, or UnicodeDecodeError where it is not UTF-8."""
    if field[1] - field[0] > LONGEST_NAME:
        raise GraphError(f"a name of {field[1] - field[0]} bytes")
    return bytes(data[field[0] : field[1]]).decode("utf-8")


def tags(kind: int, *numbers: int) -> Set[int]:
    """Of fields that are stored in one way."""
    return {8 * number + kind for number in numbers}


def signed(number: int) -> int:
    """A number as it is meant where it can be negative."""
    return number - 2**64 if number >> 63 else number


def shown(name: str) -> str:
    """A name for a message: on one line, not too long."""
    return repr(name if len(name) < 80 else name[:76] + "...")
