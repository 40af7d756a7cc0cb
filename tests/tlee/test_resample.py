"""The resize of pictures as Pillow's antialiased bilinear filter, held to Pillow itself."""

import numpy as np
import pytest
import torchvision.transforms as published
from PIL import Image

from tlee.frames import BILINEAR, FrameSpec, prepare, resized
from tlee.resample import resample

SHRUNK_AND_GROWN = [
    *(((1920, 1080), (398, 224)), ((320, 240), (298, 224)), ((240, 180), (298, 224)), ((64, 48), (85, 64))),
    *(((50, 60), (50, 23)), ((50, 60), (37, 60)), ((301, 17), (5, 90)), ((1, 1), (7, 3)), ((9, 400), (1, 1))),
]


def picture(width, height):
    return np.random.default_rng(width + height).integers(0, 256, (height, width, 3), np.uint8)


def by_pillow(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("source", "size"), SHRUNK_AND_GROWN)
def test_every_pixel_is_that_of_pillow(source, size):
    pixels = picture(*source)
    # Along rows first, as in Pillow 9.5 always; Pillow 13 begins with the columns where that costs less.
    expected = by_pillow(by_pillow(pixels, (size[0], source[1])), size)
    assert np.array_equal(resized(pixels, size, BILINEAR), expected)
    assert np.abs(by_pillow(pixels, size).astype(int) - expected).max() <= 1


def test_a_window_is_cut_out_of_the_whole():
    pixels = picture(200, 150)
    whole = resample(pixels, (90, 70), (0, 70), (0, 90))
    assert np.array_equal(resample(pixels, (90, 70), (13, 46), (31, 90)), whole[13:46, 31:90])


@pytest.mark.parametrize("size", [(320, 240), (240, 180), (101, 67), (67, 101), (40, 40), (53, 300), (35, 33)])
@pytest.mark.parametrize(("resize", "crop"), [(40, 32), (41, 32), (43, 32), (32, 32), (33, 32)])
def test_a_frame_is_prepared_as_torchvision_does_with_pillow(size, resize, crop):
    pixels = picture(*size)
    expected = published.CenterCrop(crop)(published.Resize(resize)(Image.fromarray(pixels)))
    frame = prepare(pixels, FrameSpec(1, [0], resize, crop, interpolation=BILINEAR))
    assert frame.shape == (crop, crop, 3) and frame.flags["C_CONTIGUOUS"]
    assert np.abs(frame.astype(int) - np.asarray(expected)).max() <= 1
