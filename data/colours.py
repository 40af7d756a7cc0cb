"""GStreamer's pictures in RGB, as a player shows them: by the colours and the range that the file states."""

from typing import Any, Optional

import numpy as np

from tlee.data.container import HD_LINES
from tlee.data.pictures import cv2_module
from tlee.data.pipeline import GstVideo

LAYOUTS = {"I420": (2, 2), "Y42B": (2, 1), "Y444": (1, 1), "RGB": (0, 0)}  # pixels of one colour: across, down
BT601, BT709 = GstVideo.VideoColorMatrix.BT601, GstVideo.VideoColorMatrix.BT709
FULL_RANGE = 1  # of VideoColorRange, whose name for it begins with a digit
WEIGHTS = {  # of red and blue in luma
    GstVideo.VideoColorMatrix.FCC: (0.30, 0.11),
    BT709: (0.2126, 0.0722),
    BT601: (0.299, 0.114),
    GstVideo.VideoColorMatrix.SMPTE240M: (0.212, 0.087),
    GstVideo.VideoColorMatrix.BT2020: (0.2627, 0.0593),
}


def planes_to_rgb(sample: Any, colorimetry: Optional[str]) -> np.ndarray:
    """A picture in one of our layouts, converted exactly: what GStreamer has for it is off by up to 5."""
    structure, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
    width, height = structure.get_int("width")[1], structure.get_int("height")[1]
    across, down = LAYOUTS[structure.get_string("format")]
    interlaced = down == 2 and structure.get_string("interlace-mode") in ("interleaved", "mixed")
    data = np.frombuffer(buffer.extract_dup(0, buffer.get_size()), np.uint8)
    if not across:
        return data.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
    cv2 = cv2_module()
    luma = data[: _up(width, 4) * _up(height, down)].reshape(-1, _up(width, 4))
    chroma = data[luma.size :].reshape(2, -1, _up(width, 4 * across) // across)
    lines = np.arange(height)
    rows = lines // 4 * 2 + lines % 2 if interlaced else lines // down  # each field has its own colours
    size = across * chroma.shape[2], chroma.shape[1]
    wide = [cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST)[rows, :width] for plane in chroma]
    whole = cv2.merge([np.ascontiguousarray(luma[:height, :width]), *wide])
    return np.asarray(cv2.transform(whole, _matrix(colorimetry, height)))


def _up(size: int, step: int) -> int:
    return -(-size // step) * step


def _matrix(colorimetry: Optional[str], height: int) -> np.ndarray:
    """From (Y, Cb, Cr, 1), 0 to 255, to RGB: (3, 4)."""
    stated = GstVideo.VideoColorimetry()
    if colorimetry:
        stated.from_string(colorimetry)
    standard = stated.matrix if stated.matrix in WEIGHTS else BT709 if height > HD_LINES else BT601
    red, blue = WEIGHTS[standard]
    full = stated.range == FULL_RANGE
    scale, black = (1.0, 0) if full else (255 / 219.0, 16)
    colour = 2.0 if full else 2 * 255 / 224.0
    cb, cr = colour * (1 - blue), colour * (1 - red)
    green = 1 - red - blue
    matrix = np.array([[scale, 0, cr], [scale, -cb * blue / green, -cr * red / green], [scale, cb, 0]])
    return np.c_[matrix, -matrix.dot([black, 128, 128])]
