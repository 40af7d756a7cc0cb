"""What every reader of a list makes of it: a row for each video."""

from __future__ import annotations

from typing import Literal, NamedTuple

from tlee.reading import MB

Split = Literal["train", "val"]
LIST_LIMIT = 128 * MB  # of a list in text; that of Kinetics-700, 650,000 videos, has 40 MB


class Row(NamedTuple):
    """One video of a list."""

    where: str  # its place in the list, for messages
    names: tuple[str, ...]  # its possible paths below the root, the expected one first
    labels: tuple[str | int, ...]  # names of its classes, or their indices
    wanted: bool = True  # whether it belongs to the split asked for; its labels count as classes either way
    frames: int | None = None  # number of frames the list states
