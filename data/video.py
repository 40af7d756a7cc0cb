"""Video files: every picture as a player shows it, in any order, whatever the file says of time."""

import os
from typing import Any, Callable, Dict, Iterable, List, Optional

import numpy as np

from tlee.data.clip import Ahead, Clip, Frames, Prepare, always, as_it_is
from tlee.data.container import DAMAGED, Container
from tlee.data.index import decoded_index, stated_index
from tlee.data.plan import MisstatedVideo, Plan
from tlee.errors import InputError, UsageError, system_errors

VIDEOS = (
    *(".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif", ".ogv", ".flv", ".wmv"),
    *(".mts", ".m2ts", ".3gp", ".3g2", ".mjpeg", ".mjpg"),
)
# The packets may state more pictures than come, in damaged videos: for this share of them the last one stands in.
SLACK = 0.05


class VideoFile(Clip):
    """A video file.

    Args:
        threads: that decode; None for as many as there are cores.

    Examples:
        >>> with VideoFile("examples/clips/digit0_easy_00010.mp4") as clip:
        ...     middle = clip.frame(clip.frame_count // 2)
        >>> middle.shape, middle.dtype  # height, width, RGB
        ((80, 96, 3), dtype('uint8'))

    Raises:
        InputError: the file is missing, empty, or no video that can be decoded.
        UsageError: neither PyAV nor GStreamer is installed.
    """

    def __init__(self, path: str, threads: Optional[int] = None) -> None:
        self.path = path
        _check_file(path)
        self._container = open_container(path, threads)
        self._decoded: Optional[Dict[int, Any]] = None
        index = stated_index(self._container)
        if index is None:
            index, self._decoded = decoded_index(self._container)
        self._index = index
        self.frame_count = len(index.pictures) + self._container.missing
        if not index.pictures:
            raise InputError(path, "no frame can be decoded", DAMAGED)

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def depths(self) -> np.ndarray:
        there = self._index.depths()
        return np.append(there, np.full(self.frame_count - len(there), there.max()))

    def frames(self, indices: Iterable[int], prepare: Prepare = as_it_is, ahead: Ahead = always) -> Frames:
        wanted = list(indices)
        plan = self._plan(wanted, prepare)
        try:
            for number, index in enumerate(wanted):
                following = wanted[number + 1] if number + 1 < len(wanted) and ahead(number) else None
                try:
                    yield plan.take(self._place(index), following)
                except MisstatedVideo:
                    plan.close()
                    self._index, self._decoded = decoded_index(self._container)
                    plan = self._plan(wanted[number:], prepare)
                    yield plan.take(self._place(index))
        finally:
            plan.close()

    def _plan(self, indices: List[int], prepare: Callable[[np.ndarray], np.ndarray]) -> Plan:
        there = len(self._index.pictures)
        places = [index if index < there else there - 1 for index in indices]
        return Plan(self._container, self._index, places, prepare, self._decoded)

    def _place(self, index: int) -> int:
        there = len(self._index.pictures)
        if index >= there and (self._container.missing or there < self.frame_count * (1 - SLACK) - 1):
            what = f"breaks off: {there} of {self.frame_count} frames can be decoded"
            raise InputError(self.path, what, DAMAGED)
        return min(index, there - 1)


def open_container(path: str, threads: Optional[int]) -> Container:
    """A video file, opened by PyAV, or by GStreamer on machines for which there is no PyAV.

    Raises:
        InputError: it is no video, or its decoder is not there.
        UsageError: neither is installed.
    """
    try:
        from tlee.data.ffmpeg import FFmpegContainer
    except ImportError as error:
        missing = error
    else:
        return FFmpegContainer(path, threads)
    raise UsageError("PyAV", f"not installed ({missing})", "pip install av") from None


def _check_file(path: str) -> None:
    if not os.path.exists(path):
        raise InputError(path, "no such file or folder", "check the path")
    if not os.path.isfile(path):  # a pipe that nobody writes to would be waited for
        raise InputError(path, "not a plain file", "give a video file or a folder of pictures")
    remedy = "see whether you may read it"
    with system_errors(InputError, path, remedy, "cannot be opened ({})"), open(path, "rb"):  # decoders give no reason
        if os.path.getsize(path) == 0:
            raise InputError(path, "the file is empty", "copy or record it again")
