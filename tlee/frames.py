"""From a decoded picture to a model's frame, and which pictures of a video become frames.

The one implementation for training and device, so that a model sees on the board what it was trained on.
Order of work: choose frames, resize the short side, crop the centre, all in RGB, values 0-255.
"""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tlee.errors import InputError
from tlee.resample import resample

# Which frames of a video: from the middle of equal parts, as the published loader does, or the cheapest of equal parts.
UNIFORM, PUBLISHED, KEYFRAMES = "uniform", "published", "keyframes"
SAMPLINGS = (UNIFORM, PUBLISHED, KEYFRAMES)
AREA, BILINEAR = "area", "bilinear"  # how pictures are resized: ours, and as the published loader does
LONG = 8  # times the short side: of longer pictures only the part that the crop needs is resized


class FrameSpec(NamedTuple):
    """Which frames of a video a model takes, and how they are prepared."""

    length: int  # T, frames per video
    order: List[int]  # processing order, a permutation of range(length)
    resize: int  # short side after resizing, pixels
    crop: int  # side of the centred square, pixels
    sampling: str = UNIFORM  # of `SAMPLINGS`, see `tlee.data.sampling`
    interpolation: str = AREA  # or BILINEAR, antialiased as Pillow's
    any_order: bool = False  # see `takes_any_order`


def takes_any_order(frm: str, heads: str, shifts: bool) -> bool:
    """Whether a model's answer to all of its frames is the same in whatever order they come: its feature reuse module
    is symmetric, its heads are shared by all frames, and nothing is shifted from frame to frame."""
    return frm in ("max", "add") and heads == "shared" and not shifts


def sample_indices(total: int, count: int, places: Optional[Sequence[float]] = None) -> List[int]:
    """Indices of `count` frames spread uniformly over a video's `total`, one of each of `count` equal parts; of a video
    with fewer frames some more than once.

    Args:
        places: where in each part, from 0 up to but without 1; None for the middle of each.

    Examples:
        >>> sample_indices(100, 4)
        [12, 37, 62, 87]
        >>> sample_indices(2, 4)
        [0, 0, 1, 1]
    """
    if places is None:
        return [(2 * i + 1) * total // (2 * count) for i in range(count)]
    return [int((i + place) * total / count) for i, place in enumerate(places)]


def equal_parts(total: int, count: int) -> List[Tuple[int, int]]:
    """A video's pictures in `count` parts, at most as many, each from its first picture up to the one behind its last.
    Every picture is in one part, and each part has the one that `sample_indices` takes.

    Examples:
        >>> equal_parts(10, 3)
        [(0, 3), (3, 7), (7, 10)]
    """
    bounds = [(2 * i * total + count - 1) // (2 * count) for i in range(count + 1)]  # by the pictures' middles
    return list(zip(bounds, bounds[1:]))


def published_numbers(total: int, count: int) -> List[int]:
    """Numbers of the pictures that the published loader takes of a video, where the first one is number 1.

    These are `clip(linspace(1, total + 1, count), 0, total - 1)` of NumPy, truncated to whole numbers; 0 for a video of
    one picture. Written out, so that every release of NumPy gives the same. `total` is what the list of videos says.

    Examples:
        >>> published_numbers(37, 10)
        [1, 5, 9, 13, 17, 21, 25, 29, 33, 36]
    """
    step = total / max(count - 1, 1)
    places = [1 + i * step for i in range(count)]
    if count > 1:
        places[-1] = total + 1
    return [int(min(place, total - 1)) for place in places]


def prepare(picture: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Resize the short side and crop the centre: (h, w, 3) to (crop, crop, 3), both uint8 RGB; contiguous."""
    height, width = picture.shape[:2]
    if spec.interpolation == BILINEAR:
        # As torchvision's `Resize` and `CenterCrop` do with Pillow's pictures, down to what they truncate and round.
        height, width = (int(spec.resize * side / min(picture.shape[:2])) for side in (height, width))
        top, left = (int(round((side - spec.crop) / 2)) for side in (height, width))  # of two halves to the even one
        return resample(picture, (width, height), (top, top + spec.crop), (left, left + spec.crop))
    scale = spec.resize / min(height, width)
    picture = _without_ends(picture, spec)
    height, width = picture.shape[:2]
    size = (max(spec.crop, int(round(width * scale))), max(spec.crop, int(round(height * scale))))
    picture = resized(picture, size)
    top, left = (size[1] - spec.crop) // 2, (size[0] - spec.crop) // 2
    return np.ascontiguousarray(picture[top : top + spec.crop, left : left + spec.crop])


def _without_ends(picture: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Of a strip the middle that the crop is made of, and a pixel more on each side; other pictures as they are. As a
    whole, 65,000 pixels by one would be resized to gigabytes."""
    short, long = sorted(picture.shape[:2])
    if long <= LONG * short:
        return picture
    kept = -(-short * spec.crop // spec.resize) + 2
    kept += (long - kept) % 2  # for the same middle
    part = slice((long - kept) // 2, (long + kept) // 2)
    return picture[part] if picture.shape[0] == long else picture[:, part]


def resized(picture: np.ndarray, size: Tuple[int, int], interpolation: str = AREA) -> np.ndarray:
    """A picture, (h, w, 3) uint8, at another (width, height)."""
    import cv2

    height, width = picture.shape[:2]
    if size == (width, height):
        return picture
    if interpolation == BILINEAR:
        return resample(picture, size, (0, size[1]), (0, size[0]))
    shrinks = size[0] * size[1] < width * height
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def check_clip(frames: np.ndarray, spec: FrameSpec) -> None:
    """Raise InputError for an array that is not a clip of this model: (T, crop, crop, 3), uint8 or float32."""
    wanted = (spec.length, spec.crop, spec.crop, 3)
    if frames.shape != wanted or frames.dtype not in (np.uint8, np.float32):
        remedy = f"give uint8 or float32 of shape {wanted} (frames, height, width, RGB), values 0-255"
        raise InputError("frames", f"{frames.dtype} array of shape {frames.shape}", remedy)
