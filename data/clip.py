"""What video files and folders of pictures have in common."""

from typing import Callable, Generator, Iterable

import numpy as np

Prepare = Callable[[np.ndarray], np.ndarray]
Ahead = Callable[[int], bool]
Frames = Generator[np.ndarray, None, None]


def always(_: int) -> bool:
    """Yes."""
    return True


def never(_: int) -> bool:
    """No."""
    return False


def as_it_is(picture: np.ndarray) -> np.ndarray:
    """The picture."""
    return picture


class Clip:
    """A video file or a folder of pictures, opened for access in any order.

    Attributes:
        frame_count: how many pictures it has; picture i is the i-th one that a player shows.
    """

    path: str
    frame_count: int

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frames(self, indices: Iterable[int], prepare: Prepare = as_it_is, ahead: Ahead = always) -> Frames:
        """Pictures in any order, (h, w, 3) uint8 RGB, or what `prepare` makes of them: each decoded when it is
        asked for. All indices are needed beforehand, so that none of them is decoded twice.

        Args:
            ahead: while the t-th is decoded, whether the one after it may be as well, for it will likely be needed.

        Raises:
            InputError: one cannot be decoded.
        """
        raise NotImplementedError  # abstract

    def frame(self, index: int) -> np.ndarray:
        """A single picture; see `frames`."""
        return next(iter(self.frames([index])))

    def depths(self) -> np.ndarray:
        """Of each picture, how many are decoded to reach it: (frame_count,) int."""
        return np.ones(self.frame_count, int)

    def index_of(self, number: int) -> int:
        """The index of a frame by its number, where the first frame has number 1; that of frame 1 if there is none."""
        return number - 1 if 1 <= number <= self.frame_count else 0
