"""Frame i of a video is the i-th picture that a player shows, in whatever order frames are asked for."""

import random

import numpy as np
import pytest
from helpers.odd_videos import CODED, cut_open_gop
from helpers.videos import EXPECTED, make_videos, number, plain

from tlee.data import ffmpeg
from tlee.data.video import VideoFile
from tlee.errors import InputError

MODEL = [5, 0, 9, 3, 7, 1, 8, 2, 6, 4]  # a model's order, of ten parts
ORDERS = {
    "model": lambda count: [(2 * part + 1) * count // 20 for part in MODEL],
    "ascending": lambda count: range(0, count, 1 + count // 25),
    "descending": lambda count: range(count - 1, -1, -1 - count // 25),
    "shuffled": lambda count: random.Random(0).sample(range(count), min(count, 12)),
    "repeated": lambda count: random.Random(1).choices(range(count), k=8),
}
SIDEWAYS = {"turned_90.mp4": 1, "turned_180.mp4": 2, "turned_270.mp4": 3}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_videos(folder)
    return folder


@pytest.fixture(params=["held", "read again by several threads"])
def reading(request, monkeypatch):
    """How a file is read: its packets from memory by one thread, or after seeks by several, however small it is."""
    if request.param == "held":
        return 1
    monkeypatch.setattr(ffmpeg, "HELD", 0)
    monkeypatch.setattr(ffmpeg, "THREADED", 0)
    return 3


def assert_gives(path, wanted, threads):
    for name, order in ORDERS.items():
        with VideoFile(str(path), threads) as video:
            assert video.frame_count == len(wanted)
            indices = list(order(len(wanted)))
            found = zip(indices, video.frames(indices))
            wrong = [index for index, picture in found if not np.array_equal(picture, wanted[index])]
            assert wrong == [], name


@pytest.mark.parametrize("name", EXPECTED)
def test_videos_as_users_bring_them(videos, name, reading):
    wanted = plain(videos / name)
    upright = [found[:, ::-1] if "mirrored" in name else np.rot90(found, -SIDEWAYS.get(name, 0)) for found in wanted]
    assert [number(found) for found in upright] == EXPECTED[name]
    assert_gives(videos / name, wanted, reading)


def test_an_upload_that_broke_off_is_an_error_only_for_what_it_lacks(videos):
    with VideoFile(str(videos / "upload_broken_off.mp4")) as video:
        assert video.frame_count == 300
        assert [number(found) for found in video.frames([100, 20, 0])] == [100, 20, 0]
        with pytest.raises(InputError, match=r"breaks off: 1\d\d of 300 frames can be decoded"):
            video.frame(250)


@pytest.mark.parametrize("name", CODED)
def test_odd_videos(tmp_path, name, reading):
    path = CODED[name](tmp_path / name)
    assert_gives(path, plain(path), reading)


def test_a_video_that_lacks_what_all_of_it_refers_to_is_an_error(tmp_path):
    path = cut_open_gop(tmp_path / "without_parameters.ts")
    assert plain(path) == []
    with pytest.raises(InputError, match="no frame can be decoded"), VideoFile(str(path)) as video:
        video.frame(0)
