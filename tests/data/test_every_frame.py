"""Frame i of a video is the i-th picture that a player shows, in whatever order frames are asked for."""

import random

import av
import numpy as np
import pytest
from helpers.odd_videos import CODED, cut_open_gop
from helpers.videos import EXPECTED, encode, make_videos, number, plain

from tlee.data import ffmpeg
from tlee.data.video import VideoFile
from tlee.errors import InputError

MODEL = [5, 0, 9, 3, 7, 1, 8, 2, 6, 4]  # a model's order, of ten parts
ORDERS = {
    "model": lambda count: [(2 * part + 1) * count // 20 for part in MODEL],
    "ascending": lambda count: range(0, count, 1 + count // 12),
    "descending": lambda count: range(count - 1, -1, -1 - count // 12),
    "shuffled": lambda count: random.Random(0).sample(range(count), min(count, 10)),
    "repeated": lambda count: random.Random(1).choices(range(count), k=6),
}
SIDEWAYS = {"turned_90.mp4": 1, "turned_180.mp4": 2, "turned_270.mp4": 3}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    make_videos(folder)
    return folder


@pytest.fixture
def assert_gives(monkeypatch):
    """Holds the reader to the pictures of a plain decoding."""

    def check(path, wanted):
        for order in ORDERS:
            gives(path, wanted, order, threads=1)
        # Packets are read again after seeks, and several threads decode, however small the file is.
        monkeypatch.setattr(ffmpeg, "HELD", 0)
        monkeypatch.setattr(ffmpeg, "THREADED", 0)
        gives(path, wanted, "shuffled", threads=3)
        monkeypatch.undo()

    return check


def gives(path, wanted, order, threads):
    with VideoFile(str(path), threads) as video:
        assert video.frame_count == len(wanted)
        indices = list(ORDERS[order](len(wanted)))
        found = zip(indices, video.frames(indices))
        assert [index for index, picture in found if not np.array_equal(picture, wanted[index])] == [], order


@pytest.mark.parametrize("name", EXPECTED)
def test_videos_as_users_bring_them(videos, name, assert_gives):
    wanted = plain(videos / name)
    upright = [found[:, ::-1] if "mirrored" in name else np.rot90(found, -SIDEWAYS.get(name, 0)) for found in wanted]
    assert [number(found) for found in upright] == EXPECTED[name]
    assert_gives(videos / name, wanted)


def test_an_upload_that_broke_off_is_an_error_only_for_what_it_lacks(videos):
    with VideoFile(str(videos / "upload_broken_off.mp4")) as video:
        assert video.frame_count == 300
        assert [number(found) for found in video.frames([100, 20, 0])] == [100, 20, 0]
        with pytest.raises(InputError, match=r"breaks off: 1\d\d of 300 frames can be decoded"):
            video.frame(250)


@pytest.mark.parametrize("name", CODED)
def test_odd_videos(tmp_path, name, assert_gives):
    path = CODED[name](tmp_path / name)
    assert_gives(path, plain(path))


def test_a_video_that_lacks_what_all_of_it_refers_to_is_an_error(tmp_path):
    path = cut_open_gop(tmp_path / "without_parameters.ts")
    assert plain(path) == []
    with pytest.raises(InputError, match="no frame can be decoded"), VideoFile(str(path)) as video:
        video.frame(0)


@pytest.mark.parametrize(("lines", "said"), [(96, "601"), (96, "709"), (96, "2020"), (96, None), (720, None)])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_that_were_filmed(tmp_path, lines, said, full):
    """As the file says it; where it does not, BT.709 in HD and BT.601 below."""
    colours = np.array([[200, 40, 30], [30, 180, 60], [40, 60, 210], [128, 128, 128], [230, 220, 40]], np.uint8)
    filmed = np.repeat(np.repeat(colours[None], lines, 0), 16, 1)
    matrix = {"601": 5, "709": 1, "2020": 9}[said or ("709" if lines > 576 else "601")]
    spread = 2 if full else 1
    frame = av.VideoFrame.from_ndarray(filmed, "rgb24")
    frame = frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=spread)
    tags = {"colorspace": matrix if said else 2, "color_range": spread}
    path = encode(tmp_path / "a.mp4", options={"crf": "1"}, pictures=[frame], pixels="yuv444p", **tags)
    with VideoFile(str(path)) as video:
        assert np.abs(video.frame(0).astype(int) - filmed).max() <= 6


CODECS = {
    "libx264": ["mp4", "mkv", "ts", "avi", "flv", "mov"],
    "mpeg4": ["mp4", "avi", "mkv", "mov"],
    "mpeg2video": ["mpg", "ts", "mkv"],
    "libvpx": ["webm", "avi"],
    "libvpx-vp9": ["webm", "mp4"],
    "libx265": ["mp4", "mkv", "ts"],
    "mjpeg": ["avi", "mov", "mkv"],
}


def drawn_at_random(folder, seed):
    """A video of any settings, in any container."""
    draw = random.Random(seed)
    codec = draw.choice(list(CODECS))
    key, between = draw.choice([1, 5, 12, 30, 250]), draw.choice([0, 1, 2, 4])
    options = {"g": str(key), "threads": "1"}
    if codec == "libx264":
        refer = draw.choice(["none", "strict", "normal"])
        options["x264-params"] = (
            f"open-gop={draw.choice([0, 1])}:bframes={between}:b-pyramid={refer}:ref={draw.choice([1, 4])}"
        )
    elif codec == "libx265":
        one_thread = "log-level=none:pools=none:frame-threads=1"
        options = {"x265-params": f"{one_thread}:keyint={key}:bframes={between}:open-gop={draw.choice([0, 1])}"}
    elif codec in ("mpeg4", "mpeg2video"):
        options.update(bf=str(min(between, 2)), q="3")
    elif codec.startswith("libvpx"):
        options.update({"auto-alt-ref": draw.choice("01"), "lag-in-frames": "10", "cpu-used": "8"})
    ending = draw.choice(CODECS[codec])
    count = draw.choice([9 if ending == "ts" else 1, 9, 30, 60])  # a stream of one packet is not told to be one
    steps = [draw.choice([0.01, 0.03, 0.04, 0.5]) for _ in range(count)]
    varies = ending in ("mp4", "mkv", "mov") and codec in ("libx264", "libx265", "mjpeg") and draw.random() < 0.5
    times = (lambda number: sum(steps[:number])) if varies else None
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    muxing = draw.choice([{}, {"movflags": "frag_keyframe+empty_moov"}]) if ending in ("mp4", "mov") else {}
    path = folder / f"{seed}.{ending}"
    return encode(path, codec, options, range(count), times=times, pixels=pixels, muxing=muxing)


@pytest.mark.parametrize("seeds", [[1, 5, 7, 9, 14, 19, 20, 28, 31], pytest.param(range(200), marks=pytest.mark.full)])
def test_videos_of_any_kind(tmp_path, seeds, assert_gives):
    for seed in seeds:
        path = drawn_at_random(tmp_path, seed)
        assert_gives(path, plain(path))
        path.unlink()
