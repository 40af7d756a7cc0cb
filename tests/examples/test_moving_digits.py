"""The sample data: train and test share no image, and a seed gives the same video."""

import itertools

import numpy as np
import pytest
from moving_digits import SPLIT_SHARES, digit_images, level, render
from sklearn.datasets import load_digits


def test_splits_share_no_image_and_leave_none_out():
    sizes = {split: sum(map(len, digit_images(split))) for split in SPLIT_SHARES}
    assert sum(sizes.values()) == len(load_digits().data) and min(sizes.values()) > 100
    content = {split: {i.tobytes() for images in digit_images(split) for i in images} for split in SPLIT_SHARES}
    assert all(not content[a] & content[b] for a, b in itertools.combinations(content, 2))


@pytest.mark.parametrize(("difficulty", "name"), [(0.0, "easy"), (0.5, "medium"), (1.0, "hard")])
def test_a_seed_gives_the_same_video(difficulty, name):
    image = digit_images("test")[3][0]
    first, again, other = (render(image, difficulty, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (24, 80, 96, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert level(difficulty) == name
