"""Pictures of any origin: read once, bounded in size, decoded without messages of the decoders."""

import ctypes
import os
import re
import threading
from typing import Any

import numpy as np

from tlee.errors import InputError, not_imported
from tlee.reading import MB, read_bytes

LIMIT = 512 * MB  # of a file
PIXELS = 2**27  # of a picture: 134 million, more than any telephone's camera has
REPLACE = "remove or replace this file"
# A marker in a JPEG's compressed data: no 0, restart, or other fill byte behind 0xff. Only the last of several fill
# bytes is looked at: a search from each of a long run would go to its end.
_MARKER = re.compile(b"\xff[^\x00\xff\xd0-\xd7]")
_END = 0xD9


def cv2_module() -> Any:
    """OpenCV, imported when it is first needed. Raises UsageError where it is not installed."""
    # FFmpeg and OpenCV would print their own messages about damaged files next to our one line.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # OpenCV 4.1.0 knows no SILENT
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXELS))
    try:
        import cv2
    except ImportError as error:
        remedy = "pip install '.[cpu]' in tlee's folder (on a Jetson it comes with JetPack)"
        raise not_imported("OpenCV", "cv2", error, remedy) from None
    return cv2


class _Quiet:
    """While entered, the standard error of C libraries goes nowhere: libjpeg and libpng write warnings there. Python
    has its own, so that no line of ours, from any thread, is lost."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        libc = ctypes.CDLL(None)
        self._there = hasattr(libc, "gnu_get_libc_version")  # others may keep this variable where none can write
        if self._there:
            libc.fopen.restype = ctypes.c_void_p
            self._variable = ctypes.c_void_p.in_dll(libc, "stderr")
            self._own, self._nowhere = self._variable.value, libc.fopen(b"/dev/null", b"w")

    def __enter__(self) -> None:
        self._add(1)

    def __exit__(self, *_: object) -> None:
        self._add(-1)

    def _add(self, change: int) -> None:
        with self._lock:
            self._count += change
            if self._there and self._nowhere:
                self._variable.value = self._nowhere if self._count else self._own


_quiet = _Quiet()


def read_picture(path: str, cv2: Any) -> np.ndarray:
    """The picture in a file, (h, w, 3) uint8 RGB, turned upright where the file says how it was taken; `cv2` is OpenCV.
    Raises InputError where it is not there, no plain file, no picture, breaks off, or has too many pixels."""
    content = read_bytes(path, LIMIT, InputError, REPLACE)
    jpeg, png = (content.startswith(begin) for begin in (b"\xff\xd8", b"\x89PNG"))
    if jpeg and not _ends(content) or png and not _png_ends(content):
        raise InputError(path, "breaks off", REPLACE)
    # A few bytes can state billions of pixels. OpenCV's own limit is another where a program imports it before us.
    if png and int.from_bytes(content[16:20], "big") * int.from_bytes(content[20:24], "big") > PIXELS:
        raise InputError(path, f"more than {PIXELS:,} pixels", REPLACE)
    try:
        with _quiet:
            picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error:  # of sizes beyond the limit
        picture = None
    if picture is None:
        raise InputError(path, "not a picture that can be decoded", REPLACE)
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _ends(jpeg: bytes) -> bool:
    """Whether a JPEG has its end: without it, decoders fill the rest of the picture with grey."""
    if jpeg.endswith(b"\xff\xd9"):
        return True
    place = 2  # something may follow the end
    while True:
        found = _MARKER.search(jpeg, place)
        if found is None:
            return False
        marker, place = jpeg[found.end() - 1], found.end()
        if marker == _END:
            return True
        place += int.from_bytes(jpeg[place : place + 2], "big")  # over what the marker brings


def _png_ends(png: bytes) -> bool:
    """Whether a PNG's chunks are all there: OpenCV allocates what a header states."""
    place = 8
    while place + 12 <= len(png):
        kind, place = png[place + 4 : place + 8], place + 12 + int.from_bytes(png[place : place + 4], "big")
        if kind == b"IEND":
            return place <= len(png)
    return False
