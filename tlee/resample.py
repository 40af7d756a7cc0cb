"""Pillow's antialiased bilinear resize as matrix products, for devices, where there is no Pillow.

The method is Pillow's (`ImagingResample`, filter `BILINEAR`): a triangle as wide as the scale, its weights normalised,
first along rows, then along columns, rounded to whole grey levels after each. Only the wanted window is computed.
"""

import functools
from typing import List, NamedTuple, Sequence, Tuple

import numpy as np

PRECISION = 2.0**22
BLOCK = 8  # pixels that are computed at once: their sources overlap, and one matrix product serves them all
Window = Tuple[int, int]  # first pixel, and the one behind the last


class PixelBlock(NamedTuple):
    """Neighbouring pixels of the result, and what they are made of."""

    target: slice  # in the window
    source: slice
    weights: np.ndarray  # (pixels of the result, source pixels) float32, rows sum to 1


def resample(picture: np.ndarray, size: Tuple[int, int], rows: Window, columns: Window) -> np.ndarray:
    """A window of the picture as it looks at another size.

    Args:
        picture: (h, w, 3) uint8.
        size: (width, height) of the whole result.
        rows, columns: the window, in pixels of the result.

    Returns:
        (rows, columns, 3) uint8, contiguous; at most one level from what Pillow gives.
    """
    import cv2

    height, width = picture.shape[:2]
    across, down = blocks(width, size[0], columns), blocks(height, size[1], rows)
    source = picture[_sources(down), _sources(across)]
    # Transposed, so that both passes are products with a matrix of many columns: much faster than the other way round.
    return _pass(cv2.transpose(_pass(cv2.transpose(source), across)), down)


def _sources(parts: Sequence[PixelBlock]) -> slice:
    return slice(parts[0].source.start, parts[-1].source.stop)


def _pass(picture: np.ndarray, parts: Sequence[PixelBlock]) -> np.ndarray:
    """The first axis of (n, m, 3) uint8, all sources of the window, at its new size; the others as they are."""
    rest = picture.shape[1:]
    result = np.empty((parts[-1].target.stop,) + rest, np.uint8)
    start = parts[0].source.start
    for part in parts:
        source = picture[part.source.start - start : part.source.stop - start]
        source = source.reshape(part.weights.shape[1], -1).astype(np.float64)
        levels = np.dot(part.weights, source)
        levels += 0.5  # weights are not negative and sum to 1: nothing leaves 0-255
        result[part.target] = levels.astype(np.uint8).reshape((-1,) + rest)
    return result


@functools.lru_cache(maxsize=64)
def blocks(length: int, size: int, window: Window) -> List[PixelBlock]:
    """The weights of one direction: `length` pixels become `size`, of which the window is wanted."""
    found = []
    scale = length / size
    support = max(scale, 1.0)  # half the width of the triangle
    for first in range(window[0], window[1], BLOCK):
        last = min(first + BLOCK, window[1])
        centres = (np.arange(first, last) + 0.5) * scale
        starts = np.maximum((centres - support + 0.5).astype(int), 0)
        stops = np.minimum((centres + support + 0.5).astype(int), length)
        pixels = np.arange(starts[0], stops[-1])
        weights = np.maximum(0, 1 - np.abs((pixels - centres[:, None] + 0.5) * (1 / support)))
        weights *= (pixels >= starts[:, None]) & (pixels < stops[:, None])
        weights = np.floor(weights / weights.sum(1, keepdims=True) * PRECISION + 0.5) / PRECISION
        target = slice(first - window[0], last - window[0])
        found.append(PixelBlock(target, slice(int(starts[0]), int(stops[-1])), weights))
    return found
