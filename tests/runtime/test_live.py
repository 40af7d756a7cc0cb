"""Live sources, with a video file in place of a camera."""

import cv2
import numpy as np
import pytest
from conftest import write_clip

from tlee.data.video import VideoFile
from tlee.errors import InputError
from tlee.frames import FrameSpec, prepare
from tlee.policy import Thresholds
from tlee.runtime import Recognizer
from tlee.runtime.clips import windows
from tlee.runtime.live import CSI_PIPELINE, LiveSource, capture_target

NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)


@pytest.fixture
def video(tmp_path):
    return str(write_clip(tmp_path / "live.mp4", frames=30))  # at 10 frames per second


def test_a_stream_is_recognised_window_by_window_in_the_order_it_comes(small_bundle, video):
    results = list(Recognizer.load(small_bundle, thresholds=NEVER).stream(video, seconds=1.2))
    # 4 frames of 1.2 s: one in three; the third window is cut short by the end
    windows = [[frame.video_frame for frame in result.frames] for result in results]
    assert windows == [[1, 4, 7, 10], [13, 16, 19, 22]]


def test_what_is_left_of_a_window_passes(small_bundle, video):
    thresholds = Thresholds.of(3, 0.0, 0.0)
    results = list(Recognizer.load(small_bundle, thresholds=thresholds).stream(f"file://{video}", seconds=1.2))
    assert [[frame.video_frame for frame in result.frames] for result in results] == [[1], [13], [25]]


def test_frames_of_a_stream_come_by_time_and_are_resized_as_the_model_says(video):
    spec = FrameSpec(4, [2, 0, 3, 1], 36, 32)
    published = spec._replace(sampling="published", interpolation="bilinear")
    seen = []
    for kind in (spec, published):
        with LiveSource(video) as live:
            request = next(windows(live, kind, seconds=1.2))
            seen.append((list(request.frames), request.indices))
    (ours, indices), (theirs, same) = seen
    assert indices == same == [1, 4, 7, 10]
    with VideoFile(video) as clip:
        for index, frame, other in zip(indices, ours, theirs):
            assert np.array_equal(frame, prepare(clip.frame(index), spec))
            assert np.array_equal(other, prepare(clip.frame(index), published))
    assert not np.array_equal(ours, theirs)


def test_addresses_are_those_known_from_jetson_inference():
    assert capture_target("csi://1") == (CSI_PIPELINE.format(1), True)
    assert capture_target("file:///a/b.mp4") == ("/a/b.mp4", False)
    assert capture_target("clip.mp4") == ("clip.mp4", False)


def test_a_camera_that_needs_an_opencv_with_gstreamer_says_so(small_bundle):
    assert "GStreamer:                   NO" in cv2.getBuildInformation()  # as in the registry's wheels
    with pytest.raises(InputError, match="csi://0: the OpenCV of .*cv2.* has no GStreamer; use JetPack's"):
        next(Recognizer.load(small_bundle).stream("csi://0"))


def test_a_source_that_cannot_be_opened_is_named(small_bundle, tmp_path):
    with pytest.raises(InputError, match="v4l2:///dev/video99: cannot be opened"):
        next(Recognizer.load(small_bundle).stream("v4l2:///dev/video99"))
