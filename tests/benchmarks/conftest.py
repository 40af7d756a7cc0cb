"""What tests of measurements share."""

from time import perf_counter

import pytest
from conftest import write_clip

from tlee.bundle import Bundle
from tlee.power.recorder import Recorder
from tlee.power.source import Sample, Source


class Steady(Source):
    """A sensor that always reads the same."""

    name, total, interval = "rapl", "a made-up board", 0.005

    def __init__(self, watts: float) -> None:
        self.watts = watts

    def read(self) -> Sample:
        return Sample(perf_counter(), self.watts, {"IN": self.watts}, {}, {"GPU": 921.0}, {}, [])


@pytest.fixture
def bundle(small_bundle) -> Bundle:
    return Bundle.open(small_bundle)


@pytest.fixture
def clips(tmp_path):
    """Folders that are called as classes, with a clip each."""
    for label, frames in (("jump", 9), ("walk", 14)):
        (tmp_path / "clips" / label).mkdir(parents=True)
        write_clip(tmp_path / "clips" / label / f"{label}.mp4", frames)
    return tmp_path / "clips"


class Sure(Recorder):
    """Knows the energy of its sensor's constant power, however seldom a busy machine lets it read."""

    def energy(self, start: float, end: float) -> float:
        return 5.0 * (end - start)


@pytest.fixture
def five_watts(monkeypatch):
    monkeypatch.setattr("tlee.benchmarks.bench.open_source", lambda choice: (Steady(5.0), None))
    monkeypatch.setattr("tlee.benchmarks.bench.Recorder", Sure)
