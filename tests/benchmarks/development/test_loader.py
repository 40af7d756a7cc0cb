"""The loader's benchmark measures the loader: both sides decode every frame wanted."""

import re

from conftest import write_clip

from tlee.benchmarks.development import loader


def test_both_sides_are_timed_on_the_same_frames(tmp_path, capsys):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(8):
            write_clip(tmp_path / label / f"{i}.mp4")
    loader.command([str(tmp_path), "--size", "32", "--frames", "3", "--runs", "1", "--workers", "1"])
    out = capsys.readouterr().out
    assert "16 videos, 1 processes, frames to 32 pixels" in out
    rates = [float(number) for number in re.findall(r"(?:decoding|loader) +(\d+)", out)]
    ratio = float(re.search(r"paired: ([\d.]+)", out)[1])
    slow, fast = rates  # in whole frames, so that the ratio of slow ones is known roughly
    assert slow > 0 and (fast - 0.5) / (slow + 0.5) - 0.01 < ratio < (fast + 0.5) / (slow - 0.5) + 0.01


def test_plain_decoding_reads_what_is_wanted(tmp_path):
    path = str(write_clip(tmp_path / "clip.mp4", frames=12))
    assert loader.decode(loader.Job(path, [2, 5, 11])) == 3
    assert loader.decode(loader.Job(path, [2, 5, 40])) == 2  # the last one is not there
