"""Live sources, read as they come: cameras, network streams, or a video file in place of one."""

import contextlib
import os
import re
import stat
import threading
from typing import Any, Iterator, List, Tuple

import numpy as np

from tlee.data.pictures import cv2_module
from tlee.errors import InputError
from tlee.frames import FrameSpec, prepare

# NVIDIA's camera source turns sensor data into BGR on the GPU's own converter.
CSI_PIPELINE = (
    "nvarguscamerasrc sensor-id={} ! video/x-raw(memory:NVMM) ! nvvidconv ! video/x-raw, format=BGRx ! "
    "videoconvert ! video/x-raw, format=BGR ! appsink drop=true max-buffers=1"
)
JETPACKS_OPENCV = "use JetPack's: pip uninstall opencv-python opencv-python-headless"
LIVE = ("csi://", "v4l2://", "rtsp://", "file://")  # what addresses begin with, unlike those of clips
PATIENCE = 0.5  # seconds that closing waits for a frame; a camera's take some 0.03
DEFAULT_RATE = 30.0  # frames per second, where the source does not say


class StreamEnd(Exception):
    """The source has no more frames."""


class LiveSource:
    """A camera or stream, opened with `with`. Any thread may read frames. Closing waits briefly for one that reads; if
    it is stuck, it closes the source itself once it returns.

    Args:
        address: `csi://0`, `v4l2:///dev/video0`, `rtsp://...`, `file://...` or a plain path.

    Attributes:
        rate: frames per second.
        position: number of the next frame, from 0.

    Raises:
        InputError: it cannot be opened.

    Examples:
        >>> with LiveSource("file://examples/clips/digit0_easy_00010.mp4") as live:
        ...     live.skip_to(3)
        ...     live.rate, live.position
        (12.0, 3)
    """

    def __init__(self, address: str) -> None:
        target, gstreamer = capture_target(address)
        with contextlib.suppress(OSError, ValueError):  # a network address, a pipeline, or nothing that can be opened
            mode = os.stat(target).st_mode
            device = stat.S_ISCHR(mode) and not address.startswith("file://")
            if not stat.S_ISREG(mode) and not device:  # OpenCV would wait for it, or read it, for ever
                problem = "neither a camera nor a plain file"
                raise InputError(address, problem, "give a camera, a stream, or a video file")
        cv2 = cv2_module()
        self._capture = cv2.VideoCapture(target, cv2.CAP_GSTREAMER) if gstreamer else cv2.VideoCapture(target)
        if not self._capture.isOpened():
            if gstreamer and not re.search("GStreamer: +YES", cv2.getBuildInformation()):
                raise InputError(address, f"the OpenCV of {cv2.__file__} has no GStreamer", JETPACKS_OPENCV)
            raise InputError(address, "cannot be opened", "check the address, and that nothing else uses the camera")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.address, self.rate, self.position = address, rate if rate > 0 else DEFAULT_RATE, 0
        self._reading, self._windows = threading.Lock(), 0

    def __enter__(self) -> "LiveSource":
        return self

    def __exit__(self, *_: object) -> None:
        self._windows = -1
        if self._reading.acquire(timeout=PATIENCE):
            try:
                self._capture.release()
            finally:
                self._reading.release()

    def window(self, spec: FrameSpec, first: int, step: int, indices: List[int]) -> Iterator[np.ndarray]:
        """The frames of a window as they come, every `step`-th one prepared, the others not decoded. Only the window
        that was requested last gets frames.

        Args:
            first: frame that the window begins with; those before are skipped.
            indices: the index of each frame is appended as it is read.

        Raises:
            StreamEnd: the source ends before the window is full, or another window was requested.
        """
        self._windows += 1
        return self._frames(self._windows, spec, first, step, indices)

    def _frames(self, window: int, spec: FrameSpec, first: int, step: int, indices: List[int]) -> Iterator[np.ndarray]:
        cv2 = cv2_module()
        for i in range(spec.length):
            with self._reading:  # the window before may still be reading a frame that is no longer needed
                if window != self._windows:
                    raise StreamEnd
                picture = self._next(first + i * step + step // 2)
                indices.append(self.position - 1)
            yield prepare(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), spec)

    def _next(self, position: int) -> Any:
        try:
            self.skip_to(position)
            good, picture = self._capture.read()
        finally:
            if self._windows < 0:  # closed meanwhile
                self._capture.release()
        if not good:
            raise StreamEnd
        self.position += 1
        return picture

    def skip_to(self, position: int) -> None:
        """Skip frames. Raises StreamEnd where the source ends before."""
        while self.position < position:
            if not self._capture.grab():
                raise StreamEnd
            self.position += 1


def capture_target(address: str) -> Tuple[Any, bool]:
    """What OpenCV opens for an address, and whether through GStreamer.

    Examples:
        >>> capture_target("v4l2:///dev/video0")
        ('/dev/video0', False)
        >>> capture_target("rtsp://camera/1")
        ('rtsp://camera/1', False)
    """
    kind, separator, rest = address.partition("://")
    if separator and kind == "csi":
        return CSI_PIPELINE.format(rest or 0), True
    return rest if separator and kind in ("v4l2", "file") else address, False
