"""Protobuf, as far as ONNX files need it: the device has no onnx package.

Only names are copied, so a file of any size may be mapped. A tag is a field's number times eight plus how its value is
stored.
"""

from typing import Any, Dict, List, Sequence, Set, Tuple

NUMBER, BYTES, FOUR_BYTES = 0, 2, 5  # how
CUT_OFF = "cut off, or not an ONNX model"
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


def read_number(data: Any, at: int) -> Tuple[int, int]:
    """A number of up to ten bytes, and where it ends."""
    value = data[at]
    at += 1
    if value < 128:  # most are
        return value, at
    value, shift = value & 127, 7
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


class Message:
    """The fields of a message: those with tags in `single` may be there once, those in `several` any number of times,
    in the order of their numbers, as all programs write them. Raises GraphError, which calls the message `what`, where
    it is cut off or holds other fields."""

    def __init__(self, data: Any, place: Field, what: str, single: Set[int], several: Sequence[int] = ()) -> None:
        self._data = data
        self._single: Dict[int, Field] = {}
        self._several: Dict[int, List[Field]] = {tag: [] for tag in several}
        (at, end), before = place, 0
        while at < end:
            tag, at = read_number(data, at)
            if tag < before or (tag == before and tag in single):
                raise GraphError("fields out of order, or one twice")
            before, kind = tag, tag & 7
            if tag not in single and tag not in self._several:
                known = REFUSED.get((what, tag >> 3), f"a field {tag >> 3} of kind {kind}")
                raise GraphError(f"a {what} with {known}, which no bundle may hold")
            size, field = 4, (0, 0)
            if kind != FOUR_BYTES:
                size, at = read_number(data, at)
            if kind == NUMBER:
                field = (size, 0)
            else:
                field = (at, at + size)
                at += size
            if at > end:
                raise GraphError(CUT_OFF)
            if tag in single:
                self._single[tag] = field
            else:
                self._several[tag].append(field)
                if len(self._several[tag]) > LONGEST_LIST:
                    raise GraphError(f"a {what} with more than {LONGEST_LIST} of field {tag >> 3}")

    def __contains__(self, tag: int) -> bool:
        return tag in self._single

    def place(self, tag: int) -> Field:
        """Where a field lies; an empty place where it is not there."""
        return self._single.get(tag, (0, 0))

    def number(self, tag: int) -> int:
        """A number; 0 where it is not there."""
        return self.place(tag)[0]

    def text(self, tag: int) -> str:
        """A name; an empty one where it is not there. Raises GraphError; UnicodeDecodeError where it is not UTF-8."""
        start, end = self.place(tag)
        if end - start > LONGEST_NAME:
            raise GraphError(f"a name of {end - start} bytes")
        return bytes(self._data[start:end]).decode("utf-8")

    def all(self, tag: int) -> List[Field]:
        """Places of a field of `several`; of numbers the numbers, and 0."""
        return self._several[tag]


def tags(kind: int, *numbers: int) -> Set[int]:
    """The tags of fields that are stored in one way."""
    return {8 * number + kind for number in numbers}


def shown(name: str) -> str:
    """A name for a message: on one line, not too long."""
    return repr(name if len(name) < 80 else name[:76] + "...")
