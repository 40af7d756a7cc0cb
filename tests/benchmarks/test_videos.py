"""What is recognised while it is measured."""

import numpy as np
import pytest
from conftest import write_clip

from tlee.benchmarks.videos import find_videos, synthetic_videos
from tlee.errors import InputError

LABELS = ["walk", "run", "jump"]


def test_folders_are_searched_and_those_called_as_classes_label_what_is_in_them(clips):
    (clips / "notes.txt").write_text("no video")
    write_clip(clips / "alone.mp4", 5)
    found = find_videos([str(clips)], LABELS)
    assert [(video.name, video.label) for video in found] == [
        (str(clips / "alone.mp4"), None),
        (str(clips / "jump" / "jump.mp4"), 2),
        (str(clips / "walk" / "walk.mp4"), 0),
    ]
    assert not any(video.synthetic for video in found)


def test_a_folder_of_pictures_is_one_video(tmp_path):
    folder = tmp_path / "run" / "first"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.png").touch()
    assert [(video.clip, video.label) for video in find_videos([str(tmp_path)], LABELS)] == [(str(folder), 1)]
    assert [video.clip for video in find_videos([str(folder)], LABELS)] == [str(folder)]


def test_a_folder_without_videos_is_refused(tmp_path):
    with pytest.raises(InputError, match="no video in this folder; give video files"):
        find_videos([str(tmp_path)], LABELS)


def test_noise_is_the_same_every_time(bundle):
    one, two = synthetic_videos(bundle), synthetic_videos(bundle)
    assert all(np.array_equal(a.clip, b.clip) and a.synthetic for a, b in zip(one, two))
    assert not np.array_equal(one[0].clip, one[1].clip) and one[0].clip.shape == (4, 32, 32, 3)
