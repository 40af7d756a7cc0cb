"""Whether memory grows is measured, and growing memory is found."""

import io
import itertools
import json
import mmap
import os

import numpy as np
import pytest

from tlee.benchmarks.development import memory
from tlee.errors import UsageError
from tlee.runtime import Recognizer
from tlee.runtime.batch import BatchRecognizer

CLIPS = list(np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8))


class Leaking:
    """A recogniser that keeps something of every recognition."""

    def __init__(self, recognizer, keep):
        self.recognizer, self.keep, self.kept = recognizer, keep, []

    def recognize(self, clip):
        self.kept.append(self.keep())
        return self.recognizer.recognize(clip)


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.full), 3])
def test_samples_are_printed_drawn_and_written(small_bundle, clip, tmp_path, batch, capsys):
    plot, path = tmp_path / "memory.svg", tmp_path / "memory.json"
    arguments = [small_bundle, clip, "--runs", 40, "--backend", "cpu", "--batch", batch, "--plot", plot, "--json", path]
    status = memory.command([*map(str, arguments)])
    out, err = capsys.readouterr()
    said = out.splitlines()
    found = json.loads(path.read_text())
    assert len(found["resident"]) == len(found["descriptors"]) == memory.WARM_UP + 40
    assert said[0].startswith("small, ONNX Runtime, CPU, 40 recognitions") and ("3 at once" in said[0]) == (batch == 3)
    assert said[1] == f"resident memory: first {found['first_mb']:.1f} MB, last {found['last_mb']:.1f} MB"
    # So few say little of the growth.
    assert found["left"] == 0 and (said[-1] == "flat") == found["flat"] == (not status)
    assert status in (None, 0, 1) and err == ""
    assert "<svg" in plot.read_text()


def test_two_thirds_are_with_exits_and_clips_take_turns(small_bundle):
    with Recognizer.load(small_bundle, threads=1) as recognizer:
        first, second = (Leaking(recognizer, list) for _ in range(2))
        memory.memory_over_runs([first, second], CLIPS, 40)
        assert [len(one.kept) for one in (first, second)] == [34 + 27, 16 + 13]  # of 50 and of 40
    with BatchRecognizer.load(small_bundle, 2, threads=1) as recognizer:
        first, second = (Leaking(recognizer, list) for _ in range(2))
        memory.memory_over_runs([first, second], CLIPS, 48, batch=2)
        assert [len(one.kept) for one in (first, second)] == [5 + 4, 2 + 2]  # calls, of 8 clips each


def resident_block(size):
    """Memory that does not come out of what this process has free."""
    block = mmap.mmap(-1, size)
    block.write(b"x" * size)
    return block


@pytest.mark.parametrize("size", [4_096, 2**18])
def test_a_recogniser_that_keeps_memory_is_found(monkeypatch, size):
    class Recognizer:
        def recognize(self, clip):
            return None

    calls = itertools.count()

    def resident():  # steps and noise that are no growth
        call = next(calls)
        return 300.0 + 20.0 * (call > 100) + 0.3 * (call % 7 == 3) + size / 2**20 * len(leaking.kept)

    monkeypatch.setattr(memory, "resident", resident)
    leaking, sound = Leaking(Recognizer(), object), Recognizer()
    assert memory.memory_over_runs([sound, sound], CLIPS, 400).growth == 0
    found = memory.memory_over_runs([leaking, leaking], CLIPS, 400)
    assert not found.flat and found.growth == pytest.approx(1000 * size / 2**20, rel=0.01)


def test_resident_memory_is_what_linux_says(monkeypatch):
    assert memory.resident() > 0
    said = "VmHWM:\t  999999 kB\nVmRSS:\t  524800 kB\nRssAnon:\t  1 kB\n"
    monkeypatch.setattr(memory, "open", lambda path: io.StringIO(said), raising=False)
    assert memory.resident() == 512.5


@pytest.mark.full  # real memory, which also depends on what else the machine does
@pytest.mark.parametrize("size", [4_096, 2**18])
def test_a_recogniser_that_keeps_real_memory_is_found(small_bundle, size):
    with Recognizer.load(small_bundle, threads=1) as recognizer:
        sound = memory.memory_over_runs([recognizer, recognizer], CLIPS, 400)
        leaking = Leaking(recognizer, lambda: resident_block(size))
        found = memory.memory_over_runs([leaking, leaking], CLIPS, 400)
    assert sound.flat and not found.flat and found.growth == pytest.approx(1000 * size / 2**20, rel=0.3)


def test_a_recogniser_that_keeps_files_open_is_found(small_bundle, monkeypatch):
    monkeypatch.setattr(memory, "PATIENCE", 0.05)
    with Recognizer.load(small_bundle, threads=1) as recognizer:
        leaking = Leaking(recognizer, lambda: os.open(os.devnull, os.O_RDONLY))
        found = memory.memory_over_runs([recognizer, leaking], CLIPS, 30)
    assert found.left == 10 and not found.flat
    for descriptor in leaking.kept:
        os.close(descriptor)


def test_the_growth_is_that_of_most_of_the_run():
    assert memory.slope([5.0] * 33 + [9.0] * 67) == 0.0
    assert memory.slope([0.5 * i for i in range(100)]) == pytest.approx(0.5)
    assert memory.slope([float(i // 4) for i in range(100)]) == pytest.approx(0.25, abs=0.05)
    assert memory.slope([0.5 * i + 7 * (i > 40) for i in range(100)]) == pytest.approx(0.5, abs=0.1)


def test_what_cannot_be_drawn_is_said_before_anything_is_measured(small_bundle, tmp_path):
    with pytest.raises(UsageError, match="no kind of plot; call it FILE.svg or FILE.png"):
        memory.command([str(small_bundle), "--plot", str(tmp_path / "a.pdf")])
