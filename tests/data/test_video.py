"""Reading clips frame by frame, and what a bad one says."""

import os

import cv2
import numpy as np
import pytest
from conftest import CLIPS, write_clip

from tlee.data.clips import open_clip, read_frames
from tlee.data.folder import PictureFolder
from tlee.data.sampling import sampled_indices, sampled_order
from tlee.data.video import VideoFile
from tlee.errors import InputError
from tlee.frames import PUBLISHED, FrameSpec

ORDER = [5, 0, 11, 7, 7, 1]


def bar_position(frame):
    return int(frame[:, :, 0].mean(0).argmax()) // 4


@pytest.mark.parametrize(("name", "fourcc"), [("a.mp4", "mp4v"), ("a.avi", "MJPG"), ("a.mkv", "mp4v")])
def test_frames_come_in_any_order(tmp_path, name, fourcc):
    with VideoFile(str(write_clip(tmp_path / name, fourcc=fourcc))) as video:
        assert video.frame_count == 12
        assert [bar_position(video.frame(i)) for i in ORDER] == ORDER


def test_any_order_gives_the_frames_of_a_plain_pass():
    path = str(sorted(CLIPS.glob("*.mp4"))[0])
    capture, plain = cv2.VideoCapture(path), []
    while True:
        good, picture = capture.read()
        if not good:
            break
        plain.append(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
    with VideoFile(path) as video:
        assert video.frame_count == len(plain)
        for index in (12, 0, 23, 5, 18, 3):
            assert np.array_equal(video.frame(index), plain[index])


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"img_{number}.png"), np.full((8, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    with open_clip(str(tmp_path)) as folder:
        assert [int(folder.frame(i)[0, 0, 0]) for i in range(folder.frame_count)] == [1, 2, 10]


def numbered(folder, names):
    """A folder of pictures by these names."""
    folder.mkdir()
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((8, 8, 3), np.uint8))
    return PictureFolder(str(folder))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ([f"img_{n:05d}.jpg" for n in range(1, 7)], [0, 0, 1, 2, 3, 4, 5, 0]),
        ([f"{n}.png" for n in range(1, 12)], [0, 0, 1, 2, 3, 4, 5, 6]),
        ([f"v_1_g01_{n:03d}.jpg" for n in (1, 2, 4, 5, 6)], [0, 0, 1, 0, 2, 3, 4, 0]),
        ([f"{n:06d}.jpg" for n in range(6)], [0, 1, 2, 3, 4, 5, 1, 1]),
        ([f"{n}.jpg" for n in (700, 705, 801)], [0, 0, 1, 2, 0, 0, 0, 0]),
        (["a.jpg", "b.jpg", "c.jpg"], [0, 0, 1, 2, 0, 0, 0, 0]),
        (["flow_1.jpg", "flow_2.jpg", "img_1.jpg"], [0, 0, 1, 2, 0, 0, 0, 0]),
    ],
    ids=["as published", "natural", "gap", "from 0", "not from 1", "no numbers", "repeated"],
)
def test_a_picture_is_found_by_the_number_in_its_name_or_counted(tmp_path, names, found):
    folder = numbered(tmp_path / "clip", names)
    assert [folder.index_of(number) for number in range(8)] == found


def test_published_sampling_goes_by_numbers_and_by_what_the_list_states(tmp_path):
    spec = FrameSpec(4, [2, 0, 3, 1], 8, 8, PUBLISHED)
    folder = numbered(tmp_path / "clip", [f"img_{n:05d}.jpg" for n in range(1, 11) if n != 8])
    assert sampled_indices(folder, spec, stated=10) == [0, 3, 6, 7]  # pictures 1, 4, 7 and 9
    assert sampled_indices(folder, spec) == [0, 3, 6, 0]  # of 9 there are the last would be 8
    assert sampled_order(folder, spec) == [6, 0, 0, 3]
    assert sampled_indices(folder, spec, stated=40) == [0, 0, 0, 0]  # 1, 14, 27, 39
    assert sampled_indices(folder, spec._replace(sampling="uniform"), stated=40) == [1, 3, 5, 7]


def test_in_a_video_picture_1_is_the_first_frame(tmp_path):
    spec = FrameSpec(4, [2, 0, 3, 1], 48, 48, PUBLISHED)
    with VideoFile(str(write_clip(tmp_path / "a.mp4", frames=12))) as video:
        assert sampled_indices(video, spec) == [0, 4, 8, 10]
        assert [bar_position(frame) for frame in (video.frame(i) for i in sampled_order(video, spec))] == [8, 0, 10, 4]
    with VideoFile(str(write_clip(tmp_path / "b.mp4", frames=1))) as video:
        assert sampled_indices(video, spec) == [0, 0, 0, 0]


def test_pictures_are_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    assert PictureFolder(str(tmp_path)).frame(0)[0, 0].tolist() == [255, 0, 0]


def test_a_short_clip_gives_its_frames_more_than_once(tmp_path):
    with VideoFile(str(write_clip(tmp_path / "a.mp4", frames=2, size=(48, 48)))) as video:
        frames = list(read_frames(video, FrameSpec(4, [2, 0, 3, 1], 48, 48)))
    assert len(frames) == 4
    assert np.array_equal(frames[0], frames[2]) and np.array_equal(frames[1], frames[3])
    assert not np.array_equal(frames[0], frames[1])


def missing(path):
    return path / "none.mp4", "no such file"


def empty(path):
    (path / "empty.mp4").write_bytes(b"")
    return path / "empty.mp4", "empty"


def text(path):
    (path / "notes.mp4").write_text("no video at all\n" * 100)
    return path / "notes.mp4", "not a video"


def without_its_end(path):
    whole = write_clip(path / "whole.mp4").read_bytes()
    (path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    return path / "cut.mp4", "its end is missing"


def folder_of_nothing(path):
    (path / "none").mkdir()
    return path / "none", "no pictures"


@pytest.mark.parametrize("bad", [missing, empty, text, without_its_end, folder_of_nothing])
def test_what_cannot_be_opened_says_so_in_one_line(tmp_path, bad):
    path, problem = bad(tmp_path)
    with pytest.raises(InputError, match=problem) as caught:
        open_clip(str(path))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_picture_of_gigabytes_is_not_read_as_a_video(tmp_path):
    (tmp_path / "a.JPG").touch()
    os.truncate(tmp_path / "a.JPG", 1 << 30)
    with pytest.raises(InputError, match="a.JPG: 1,073,741,824 bytes, more than the"):
        open_clip(str(tmp_path / "a.JPG")).frame(0)


def test_a_video_that_breaks_off_is_named_when_a_missing_frame_is_wanted(tmp_path):
    whole = write_clip(tmp_path / "whole.avi", frames=40, size=(192, 48), fourcc="MJPG").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with (
        pytest.raises(InputError, match="cut.avi: breaks off: [0-9]+ of 40 frames"),
        VideoFile(str(tmp_path / "cut.avi")) as video,
    ):
        video.frame(35)


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(InputError, match="a.jpg: not a picture"):
        PictureFolder(str(tmp_path)).frame(0)
