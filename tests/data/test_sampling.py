"""Which pictures a model reads of a clip, and in which order: the cheapest of each part with key frames."""

import numpy as np
import pytest
from conftest import write_clip

from tlee.data.clip import Clip
from tlee.data.container import Packet
from tlee.data.index import PictureIndex
from tlee.data.sampling import sampled_indices, sampled_order
from tlee.data.video import VideoFile
from tlee.frames import FrameSpec, equal_parts, sample_indices, takes_any_order

SPEC = FrameSpec(4, [2, 0, 3, 1], 48, 48, "keyframes", any_order=True)


class Costly(Clip):
    """Pictures that so many have to be decoded for, each."""

    def __init__(self, *depths):
        self.frame_count, self._depths = len(depths), np.array(depths)

    def depths(self):
        return self._depths


def every(gop, count):
    """A key frame every `gop` pictures."""
    return Costly(*(1 + i % gop for i in range(count)))


@pytest.mark.parametrize("count", [1, 3, 8, 10])
def test_parts_hold_every_picture_once_and_the_one_of_uniform_sampling_each(count):
    for total in range(count, 200):
        parts = equal_parts(total, count)
        assert [i for first, end in parts for i in range(first, end)] == list(range(total))
        assert all(first <= i < end for i, (first, end) in zip(sample_indices(total, count), parts))


@pytest.mark.parametrize("total", [*range(1, 30), 100, 999])
def test_where_every_picture_costs_the_same_key_frames_are_uniform_sampling(total):
    clip, uniform = every(1, total), SPEC._replace(sampling="uniform")
    assert sampled_order(clip, SPEC) == sampled_order(clip, uniform)


@pytest.mark.parametrize(
    ("clip", "indices"),
    [
        (every(10, 40), [0, 10, 20, 30]),
        (every(3, 40), [6, 15, 24, 36]),  # of several the one nearest to 5, 15, 25, 35
        (every(250, 40), [0, 10, 20, 30]),  # none but the first: what comes first
        (every(25, 40), [0, 10, 25, 30]),
        (Costly(1, 9, 4, 4, 2, 2, 2, 9), [0, 3, 5, 6]),
        (Costly(1, 9, 4, 3, 2, 2, 9, 2), [0, 3, 5, 7]),
        (every(2, 3), [0, 1, 1, 2]),  # fewer pictures than parts
    ],
)
def test_of_each_part_the_picture_comes_that_the_least_is_decoded_for(clip, indices):
    assert sampled_indices(clip, SPEC) == indices


def test_the_cheapest_come_first_if_the_model_takes_any_order():
    clip, spec = every(25, 40), SPEC._replace(order=[1, 3, 2, 0])
    assert [clip.depths()[i] for i in sampled_indices(clip, spec)] == [1, 11, 1, 6]
    assert sampled_order(clip, spec) == [0, 25, 30, 10]
    assert sampled_order(clip, spec._replace(any_order=False)) == [10, 30, 25, 0]
    assert sampled_order(every(10, 40), spec) == [10, 30, 20, 0]  # the model's own among equals
    middle_first = SPEC._replace(length=10, order=[5, 0, 9, 2, 7, 4, 6, 3, 8, 1])
    assert sampled_order(every(60, 300), middle_first) == [120, 0, 240, 60, 180, 150, 30, 270, 90, 210]
    assert sampled_order(clip, spec._replace(sampling="uniform")) == [15, 35, 25, 5]


def test_only_symmetric_feature_reuse_with_shared_heads_and_no_shift_takes_any_order():
    assert takes_any_order("max", "shared", False) and takes_any_order("add", "shared", False)
    assert not any(takes_any_order(frm, "shared", False) for frm in ("mean", "ema", "attention", "none"))
    assert not takes_any_order("max", "per_frame", False) and not takes_any_order("max", "shared", True)


def test_of_a_video_the_key_frames_are_read(tmp_path):
    path = write_clip(tmp_path / "a.mp4", frames=40, size=(160, 48))
    with VideoFile(str(path)) as video:
        depths = video.depths()
        assert depths.tolist() == [1 + i % 12 for i in range(40)]
        order = sampled_order(video, SPEC)
        assert order == [24, 0, 36, 12]
        shown = [int(frame[:, :, 0].mean(0).argmax()) // 4 for frame in video.frames(order)]
    assert shown == order


def brute_force(packets, pictures):
    """Depths by the definition: from the last key frame before a picture in the file and on the screen."""
    place = {packet: i for i, packet in enumerate(pictures)}
    keys = [i for i, packet in enumerate(packets) if packet.key and i in place]
    for i, number in enumerate(pictures):
        yield number - max([0] + [key for key in keys if key <= number and place[key] <= i]) + 1


def test_depths_of_an_open_group_of_pictures():
    # In the file I0 P3 B1 B2 I6 B4 B5 P9 B7 B8: B4 and B5 are displayed before the key frame that they follow.
    keys, pictures = {0, 4}, [0, 2, 3, 1, 5, 6, 4, 8, 9, 7]
    packets = [Packet(None, i in keys, True, True) for i in range(10)]
    index = PictureIndex("h264", packets, pictures)
    assert index.depths().tolist() == [1, 3, 4, 2, 6, 7, 1, 5, 6, 4] == list(brute_force(packets, pictures))
    assert [pictures[i] - index.start(i) + 1 for i in range(10)] == index.depths().tolist()


def test_a_hundred_thousand_key_frames_cost_no_more_than_a_pass(tmp_path):
    packets = [Packet(None, True, True, False)] * 100_000
    index = PictureIndex("mjpeg", packets, list(range(100_000)))
    assert (index.depths() == 1).all() and index.start(99_999) == 99_999
