"""Frames are read by the bundle's sampling, or by the one that is asked for."""

import json

import pytest
from conftest import write_clip

from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.runtime import BatchRecognizer, Recognizer

UNIFORM, KEYS = [25, 5, 15, 35], [24, 0, 12, 36]  # of 40 pictures in the model's order, a key frame every 12


@pytest.fixture
def long_clip(tmp_path):
    return str(write_clip(tmp_path / "long.mp4", frames=40, size=(160, 48)))


def read(result):
    return [frame.video_frame for frame in result.frames]


def test_key_frames_are_read_if_asked_for(small_bundle, long_clip):
    bundle = Bundle.open(small_bundle)
    asked = {"early_exit": False, "sampling": "keyframes"}
    with Recognizer.load(bundle, **asked) as one, BatchRecognizer.load(bundle, 2, **asked) as two:
        answers = [one.recognize(long_clip), *two.recognize([long_clip])]
    assert [read(answer) for answer in answers] == [KEYS, KEYS]
    with Recognizer.load(bundle, early_exit=False) as own:
        assert read(own.recognize(long_clip)) == UNIFORM  # the bundle itself is as it was
    with pytest.raises(UsageError, match="sampling: 'cheap' is not known; choose of: uniform, published, keyframes"):
        Recognizer.load(bundle, sampling="cheap")


def test_the_command_takes_a_sampling_for_files_alone(tlee_run, small_bundle, long_clip):
    options = ("--json", "-", "--no-early-exit", "--sampling", "keyframes")
    (line,) = tlee_run(small_bundle, long_clip, *options).stdout.splitlines()
    assert [frame["video_frame"] for frame in json.loads(line)["frames"]] == KEYS
    run = tlee_run(small_bundle, f"file://{long_clip}", *options)
    assert (run.returncode, run.stdout) == (2, "") and run.stderr.count("\n") == 1
    assert run.stderr.startswith("tlee-run: --sampling: live sources are taken as they come")


def test_a_live_source_is_taken_as_it_comes(small_bundle, long_clip):
    with Recognizer.load(small_bundle, early_exit=False, sampling="keyframes") as recognizer:
        assert [read(result) for result in recognizer.stream(f"file://{long_clip}", 4.0)] == [[5, 15, 25, 35]]
