"""Video files: every picture as a player shows it, in any order, whatever the file says of time."""

import os
from typing import Any, Dict, Iterable, List, Optional

import numpy as np

from tlee.data.clip import Ahead, Clip, Pictures, Prepare, always, as_it_is
from tlee.data.container import DAMAGED, Container, DamagedVideo
from tlee.data.index import decoded_index, stated_index
from tlee.data.plan import MisstatedVideo, Plan
from tlee.errors import InputError, UsageError, not_imported, system_errors

VIDEOS = (
    *(".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif", ".ogv", ".flv", ".wmv"),
    *(".mts", ".m2ts", ".3gp", ".3g2", ".mjpeg", ".mjpg"),
)
INSTALL_READER = (
    "pip install av; for Python 3.6: sudo apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-libav "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad"
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
        there, missing = len(index.pictures), self._container.missing
        self.frame_count = there + missing
        self._places = list(range(there)) + [there - 1] * missing  # in the index, of each picture
        self._absent = set(range(there, self.frame_count))  # pictures that others stand in for
        self._distrusted = False
        self._check_pictures()

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def depths(self) -> np.ndarray:
        there = self._index.depths()
        return np.append(there, np.full(self.frame_count - len(there), there.max()))

    def frames(self, indices: Iterable[int], prepare: Prepare = as_it_is, ahead: Ahead = always) -> Pictures:
        wanted = list(indices)
        plan = self._plan(wanted, prepare)
        try:
            for number in range(len(wanted)):
                picture = None
                while picture is None:
                    after = wanted[number + 1 : number + 2] if number + 1 < len(wanted) and ahead(number) else []
                    try:
                        picture = plan.take(self._place(wanted[number]), *(self._places[index] for index in after))
                    except (MisstatedVideo, DamagedVideo):
                        plan.close()
                        self._index_by_decoding()  # only once
                        plan = self._plan(wanted[number:], prepare)
                yield picture
        finally:
            plan.close()

    def _plan(self, indices: List[int], prepare: Prepare) -> Plan:
        places = [self._places[index] for index in indices]
        return Plan(self._container, self._index, places, prepare, self._decoded)

    def _index_by_decoding(self) -> None:
        """Where packets and pictures disagree. For a picture that does not come, the one before it stands in: the later
        ones keep their numbers."""
        if self._distrusted:
            raise InputError(self.path, "decoding it twice gives different pictures", DAMAGED)
        stated = self._index.pictures
        self._index, self._decoded = decoded_index(self._container, keyed=False)
        self._distrusted = True
        self._check_pictures()
        place = self._index.place
        there = len(place)
        places = [0]
        for packet in stated:
            places.append(place.get(packet, places[-1]))
        if places == sorted(places) and not place.keys() - set(stated):
            self._places[: len(stated)] = places[1:]
            self._absent.update(i for i, packet in enumerate(stated) if packet not in place)
        else:  # the order is another one
            self._places = [min(i, there - 1) for i in range(self.frame_count)]
            self._absent = set(range(there, self.frame_count))

    def _check_pictures(self) -> None:
        if not self._index.pictures:
            raise InputError(self.path, "no frame can be decoded", DAMAGED)

    def _place(self, index: int) -> int:
        there = len(self._index.pictures)
        if index in self._absent and (self._container.missing or there < self.frame_count * (1 - SLACK) - 1):
            what = f"breaks off: {there} of {self.frame_count} frames can be decoded"
            raise InputError(self.path, what, DAMAGED)
        return self._places[index]


def open_container(path: str, threads: Optional[int]) -> Container:
    """A video file, opened by PyAV, or by GStreamer on machines for which there is no PyAV.

    Raises:
        InputError: it is no video, or its decoder is not there.
        UsageError: neither is installed.
    """
    try:
        from tlee.data.ffmpeg import FFmpegContainer
    except ImportError as error:
        no_av = error
    else:
        return FFmpegContainer(path, threads)
    try:
        from tlee.data.gstreamer import GStreamerContainer
    except ImportError as error:
        if getattr(no_av, "name", None) != "av":  # it is there, but something that it needs is not
            raise not_imported("PyAV", "av", no_av, INSTALL_READER) from None
        what = f"neither PyAV ({no_av}) nor GStreamer's Python ({error}) can be used"
        raise UsageError("reading of video", what, INSTALL_READER) from None
    return GStreamerContainer(path, threads)


def _check_file(path: str) -> None:
    if not os.path.exists(path):
        raise InputError(path, "no such file or folder", "check the path")
    if not os.path.isfile(path):  # a pipe that nobody writes to would be waited for
        raise InputError(path, "not a plain file", "give a video file or a folder of pictures")
    remedy = "see whether you may read it"
    with system_errors(InputError, path, remedy, "cannot be opened ({})"), open(path, "rb"):  # decoders give no reason
        if os.path.getsize(path) == 0:
            raise InputError(path, "the file is empty", "copy or record it again")
