"""Which frames are read, and what is done to them."""

import tracemalloc

import numpy as np
import pytest

from tlee.errors import InputError
from tlee.frames import (
    AREA,
    BILINEAR,
    FrameSpec,
    check_clip,
    prepare,
    published_numbers,
    resized,
    sample_indices,
)

SPEC = FrameSpec(2, [0, 1], 40, 32)


@pytest.mark.parametrize("total", [1, 3, 10, 11, 1000])
def test_samples_are_uniform_and_inside(total):
    indices = sample_indices(total, 10)
    assert indices == sorted(indices) and indices[0] >= 0 and indices[-1] < total
    assert max(np.diff(indices)) - min(np.diff(indices)) <= 1


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (40, 40), (500, 41), (20, 30)])
def test_a_frame_has_its_short_side_resized_and_its_centre_cropped(size):
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, width // 2 :, 0] = 200  # right half red
    frame = prepare(picture, SPEC)
    assert frame.shape == (32, 32, 3) and frame.dtype == np.uint8
    assert abs(int(frame[:, :15, 0].max())) < 20 and int(frame[:, 18:, 0].min()) > 180
    assert frame[:, :, 1:].max() == 0


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 200
    assert prepare(stripes, SPEC).std() < 5


def test_a_frame_of_the_right_size_is_not_touched():
    picture = np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(prepare(picture, FrameSpec(1, [0], 32, 32)), picture)


@pytest.mark.parametrize(
    "clip", [np.zeros((2, 32, 32, 1), np.uint8), np.zeros((3, 32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3))]
)
def test_an_array_that_is_no_clip_is_refused(clip):
    with pytest.raises(InputError, match="give uint8 or float32"):
        check_clip(clip, SPEC)


@pytest.mark.parametrize("count", [1, 2, 8, 10, 16])
def test_published_numbers_are_those_of_the_published_formula(count):
    for total in range(1, 2001):
        literal = np.clip(np.linspace(1, total + 1, count), 0, total - 1).astype(int)
        assert published_numbers(total, count) == literal.tolist()


def test_bilinear_gives_what_pillow_gave():
    picture = (np.arange(6 * 9 * 3) * 37 % 256).astype(np.uint8).reshape(6, 9, 3)
    shrunk, grown = (resized(picture, size, BILINEAR)[:, :, 0].tolist() for size in ((4, 5), (12, 7)))
    # Recorded from Pillow 9.5.
    assert shrunk[:3] == [[107, 137, 102, 97], [153, 110, 126, 155], [125, 86, 166, 127]]
    assert shrunk[3:] == [[96, 125, 141, 98], [154, 149, 114, 144]]
    assert grown[0] == [0, 69, 153, 204, 95, 146, 134, 57, 140, 63, 51, 120]
    assert grown[5] == [151, 94, 82, 131, 214, 137, 125, 176, 67, 118, 126, 69]


def test_area_and_bilinear_differ_and_each_is_what_the_specification_says():
    picture = (np.arange(60 * 90 * 3) * 37 % 256).astype(np.uint8).reshape(60, 90, 3)
    area, bilinear = (prepare(picture, SPEC._replace(interpolation=kind)) for kind in (AREA, BILINEAR))
    assert area.shape == bilinear.shape == (32, 32, 3) and not np.array_equal(area, bilinear)
    assert np.array_equal(prepare(picture, SPEC), area)


@pytest.mark.parametrize("kind", [AREA, BILINEAR])
@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1), (3, 65_000), (300, 16_000)])
def test_a_strip_takes_no_more_memory_than_some_crops(size, kind):
    strip = np.random.RandomState(0).randint(0, 256, (*size, 3), np.uint8)
    spec = FrameSpec(1, [0], 128, 112, interpolation=kind)
    prepare(strip, spec)  # imports, and the weights that it keeps
    tracemalloc.start()
    try:
        assert prepare(strip, spec).shape == (112, 112, 3)
        assert tracemalloc.get_traced_memory()[1] < 600_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(40, 400), (401, 40), (20, 301), (5, 100), (120, 2000)])
def test_of_a_strip_the_middle_comes_as_if_all_of_it_were_resized(size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    strip = np.stack([x % 200, y * 200 // height, (x + y) % 150], -1).astype(np.uint8)
    frame = prepare(strip, SPEC)
    scale = SPEC.resize / min(size)
    whole = resized(strip, (round(width * scale), round(height * scale)))
    top, left = ((side - SPEC.crop) // 2 for side in whole.shape[:2])
    expected = whole[top : top + SPEC.crop, left : left + SPEC.crop]
    assert np.abs(frame.astype(int) - expected).mean() < 3
