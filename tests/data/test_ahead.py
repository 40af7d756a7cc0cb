"""While one picture of a video is decoded, another may be: it changes no picture, and ends when it is not needed."""

import threading

import numpy as np
import pytest

from tlee.benchmarks.development.files import make_video
from tlee.data.clip import always, never
from tlee.data.clips import open_clip

WANTED = [165, 15, 285, 75, 76, 74, 255, 299]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ahead") / "every_30.mp4")
    make_video(path, 30, "320x240")
    return path


def decoders_ahead() -> list:
    return [thread for thread in threading.enumerate() if "_go_ahead" in thread.name]


def test_pictures_are_the_same_whether_decoded_ahead_or_not(video):
    with open_clip(video, threads=2) as clip:
        one_by_one, ahead = (list(clip.frames(WANTED, ahead=which)) for which in (never, always))
        assert len(ahead) == len(WANTED) and all(map(np.array_equal, one_by_one, ahead))


def test_each_frame_is_asked_whether_the_next_is_likely(video):
    asked = []
    with open_clip(video, threads=2) as clip:
        list(clip.frames([165, 15, 285], ahead=lambda t: asked.append(t) or t == 0))
    assert asked == [0, 1]  # the last one has no next


def test_what_is_decoded_ahead_ends_with_the_frames(video):
    with open_clip(video, threads=2) as clip:
        frames = clip.frames([15, 285, 165], ahead=always)
        next(frames)
        frames.close()
        for thread in decoders_ahead():
            thread.join(30)
            assert not thread.is_alive()


def test_nothing_is_decoded_ahead_by_a_single_thread(video, monkeypatch):
    def start(thread):
        raise AssertionError("a thread was started")

    with open_clip(video, threads=1) as clip:
        monkeypatch.setattr(threading.Thread, "start", start)
        assert len(list(clip.frames([15, 285], ahead=always))) == 2


def test_a_system_without_threads_decodes_one_after_the_other(video, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    with open_clip(video, threads=2) as clip:
        expected = list(clip.frames([15, 285], ahead=never))
        monkeypatch.setattr(threading.Thread, "start", start)
        assert all(map(np.array_equal, expected, clip.frames([15, 285], ahead=always)))
