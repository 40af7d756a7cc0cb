"""Clips on disk, a video file or a folder of pictures, read frame by frame in any order.

Training and device read through here. Only the frames asked for are decoded.
"""

import os
import re
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import numpy as np

from tlee.data.pictures import LIMIT, PIXELS, REPLACE, read_picture
from tlee.errors import InputError, not_imported, system_errors
from tlee.frames import PUBLISHED, FrameSpec, prepare, published_numbers, sample_indices
from tlee.reading import check_size

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")
VIDEOS = (
    *(".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".gif", ".ogv", ".flv", ".wmv"),
    *(".mts", ".m2ts", ".3gp", ".3g2", ".mjpeg", ".mjpg"),
)
# Containers count frames by duration and may be off by a few: past the end, the last frame stands in for this share of
# the count. If more are missing, the file is damaged.
COUNT_SLACK = 0.05
# A seek decodes from a key frame that lies before (some 50 frames in usual files): up to here, going on is cheaper.
FORWARD = 32
ROOM = 128 << 20  # bytes that decoding a video of usual size may take
DAMAGED = "copy the file again, or re-encode it (ffmpeg -i FILE -c:v libx264 NEW.mp4)"


class Clip:
    """A video file or a folder of pictures, opened for random access."""

    path: str
    frame_count: int

    def __enter__(self) -> "Clip":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def frame(self, index: int) -> np.ndarray:
        """Frame `index`, (h, w, 3) uint8 RGB. Raises InputError where it cannot be decoded."""
        raise NotImplementedError  # abstract

    def index_of(self, number: int) -> int:
        """The index of a frame by its number, where the first frame has number 1; that of frame 1 if there is none."""
        return number - 1 if 1 <= number <= self.frame_count else 0


class VideoFile(Clip):
    """A video file.

    Examples:
        >>> with VideoFile("examples/clips/digit0_easy_00010.mp4") as clip:
        ...     middle = clip.frame(clip.frame_count // 2)
        >>> middle.shape, middle.dtype  # height, width, RGB
        ((80, 96, 3), dtype('uint8'))

    Raises:
        InputError: the file is missing, empty, or no video that OpenCV can decode.
        UsageError: OpenCV is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        _check_file(path)
        self._capture = _capture(path)
        if not self._capture.isOpened():
            try:
                bytearray(ROOM)  # OpenCV does not report a lack of memory
            except MemoryError:
                remedy = "close other programs, or add swap"
                raise InputError(path, "not enough memory to decode it", remedy) from None
            raise InputError(path, "not a video that can be decoded, or its end is missing", DAMAGED)
        self._position = 0  # of the next frame that a plain read gives
        self._last: Optional[Tuple[int, np.ndarray]] = None
        self._exact_count: Optional[int] = None
        self.frame_count = int(self._capture.get(cv2_module().CAP_PROP_FRAME_COUNT))
        if self.frame_count <= 0:  # the container does not say
            self.frame_count = self._count()
        if self.frame_count == 0:
            raise InputError(path, "no frame can be decoded", DAMAGED)

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def frame(self, index: int) -> np.ndarray:
        if self._last is None or self._last[0] != index:
            picture = self._read(index)
            if picture is None:
                picture = self._read(self._stand_in(index))
            if picture is None:
                raise InputError(self.path, f"frame {index} cannot be decoded", DAMAGED)
            self._last = index, cv2_module().cvtColor(picture, cv2_module().COLOR_BGR2RGB)
        return self._last[1]

    def _read(self, index: int) -> Optional[np.ndarray]:
        if 0 <= index - self._position <= FORWARD:
            for _ in range(index - self._position):
                self._capture.grab()
        else:
            self._capture.set(cv2_module().CAP_PROP_POS_FRAMES, index)
        good, picture = self._capture.read()
        self._position = index + 1 if good else -FORWARD - 1  # after a failure, always seek
        return picture if good else None

    def _stand_in(self, index: int) -> int:
        if self._exact_count is None:
            self._exact_count = self._count()
        if index < self._exact_count:  # the frame is there, but seeking to it failed: nothing better to offer
            raise InputError(self.path, f"seeking to frame {index} fails", DAMAGED)
        if self._exact_count < self.frame_count * (1 - COUNT_SLACK) - 1:
            what = f"breaks off: {self._exact_count} of {self.frame_count} frames can be decoded"
            raise InputError(self.path, what, DAMAGED)
        return self._exact_count - 1

    def _count(self) -> int:
        capture, count = _capture(self.path), 0
        while capture.grab():
            count += 1
        capture.release()
        return count


class PictureFolder(Clip):
    """A folder of pictures, in natural order of their names (img_2 before img_10). Raises InputError if empty."""

    def __init__(self, path: str) -> None:
        self.path = path
        with system_errors(InputError, path, "make the folder readable"):
            names = [n for n in os.listdir(path) if n.lower().endswith(PICTURES) and not n.startswith(".")]
        self._files = [os.path.join(path, n) for n in sorted(names, key=_natural)]
        self.frame_count = len(self._files)
        self._numbers: Optional[Dict[int, int]] = None
        if not self._files:
            raise InputError(path, "no pictures in this folder", f"give a folder of {'/'.join(PICTURES[:3])}")

    def index_of(self, number: int) -> int:
        """As of every clip. A picture's number is the last one in its name; where two names have the same or none has
        number 1, pictures are counted from 1 in their order."""
        if self._numbers is None:
            found = [re.findall("[0-9]+", os.path.splitext(os.path.basename(file))[0]) for file in self._files]
            self._numbers = {int(parts[-1]): index for index, parts in enumerate(found) if parts}
            if len(self._numbers) < len(found) or 1 not in self._numbers:
                self._numbers = {index + 1: index for index in range(len(found))}
        return self._numbers.get(number, self._numbers[1])

    def frame(self, index: int) -> np.ndarray:
        return read_picture(self._files[index], cv2_module())


def open_clip(path: str) -> Clip:
    """The video file or folder of pictures at `path`. Raises InputError where it is neither."""
    return PictureFolder(path) if os.path.isdir(path) else VideoFile(path)


def read_frames(clip: Clip, spec: FrameSpec, indices: Optional[Iterable[int]] = None) -> Iterator[np.ndarray]:
    """The model's frames of a clip, or those of `indices`, prepared: each (crop, crop, 3) uint8 RGB, decoded when it is
    asked for."""
    for index in sampled_order(clip, spec) if indices is None else indices:
        yield prepare(clip.frame(index), spec)


def sampled_order(clip: Clip, spec: FrameSpec) -> List[int]:
    """Indices of the frames that a model reads of a clip, in processing order."""
    sampled = sampled_indices(clip, spec)
    return [sampled[i] for i in spec.order]


def sampled_indices(clip: Clip, spec: FrameSpec, stated: Optional[int] = None) -> List[int]:
    """As `sampled_order`, in the order of the video. The published sampling takes the number of frames from the list of
    videos, where that has it `stated`."""
    if spec.sampling != PUBLISHED:
        return sample_indices(clip.frame_count, spec.length)
    return [clip.index_of(number) for number in published_numbers(stated or clip.frame_count, spec.length)]


def _check_file(path: str) -> None:
    if not os.path.exists(path):
        raise InputError(path, "no such file or folder", "check the path")
    if not os.path.isfile(path):  # a pipe that nobody writes to would be waited for
        raise InputError(path, "not a plain file", "give a video file or a folder of pictures")
    if path.lower().endswith(PICTURES):  # of which decoders read all
        check_size(path, os.path.getsize(path), LIMIT, InputError, REPLACE)
    remedy = "see whether you may read it"
    with system_errors(InputError, path, remedy, "cannot be opened ({})"), open(path, "rb"):  # OpenCV gives no reason
        if os.path.getsize(path) == 0:
            raise InputError(path, "the file is empty", "copy or record it again")


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


def _capture(path: str) -> Any:
    # OpenCV takes names as UTF-8, whatever the locale, and crashes on anything else.
    try:
        name = os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(path, "its name is not UTF-8", "rename it") from None
    return cv2_module().VideoCapture(name)


def _natural(name: str) -> List[Any]:
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(re.split("([0-9]+)", name))]
