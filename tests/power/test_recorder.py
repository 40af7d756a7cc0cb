"""Readings in the background, from sources that follow a script."""

import os
import threading
import time

import pytest

from tlee.power.recorder import Recorder, throttled
from tlee.power.source import Sample, Source, SourceEnded


def sample(moment, watts=5.0, rails=None, throttled=(), mode="MAXN", **clocks):
    rails = {"IN": watts} if rails is None else rails
    return Sample(moment, watts, rails, {"GPU": 50.0}, clocks, {"GPU": 40.0}, list(throttled), {"mode": mode})


class Script(Source):
    """Gives readings without pause, whatever times they bear; raises those that are errors; then waits to be closed."""

    name, total, interval, paced = "script", "all of it", 0.5, True

    def __init__(self, *readings):
        self.readings, self.closed = list(readings), 0
        self.given, self.end = 0, threading.Event()

    def read(self):
        if self.given == len(self.readings):
            self.end.wait(120)
            raise SourceEnded("closed")
        self.given += 1
        reading = self.readings[self.given - 1]
        if isinstance(reading, Exception):
            raise reading
        return reading

    def close(self):
        self.closed += 1
        self.end.set()


def recorded(*readings, start=100.0):
    """A recorder that has read all of the script."""
    source = Script(*readings)
    with Recorder(source, start) as recorder:
        until(lambda: source.given == len(readings))
        until(lambda: recorder._thread.is_alive() is isinstance(readings[-1], Sample))
        if isinstance(readings[-1], Sample):
            until(lambda: len(recorder._samples) >= sum(isinstance(reading, Sample) for reading in readings))
    assert source.closed and not recorder._thread.is_alive()
    return recorder


def until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_readings_are_reported_relative_to_the_start():
    recorder = recorded(sample(101.0, 4.0, GPU=921.6), sample(101.5, 6.0, GPU=921.6))
    assert recorder.as_json() == {
        "source": "script",
        "reason": None,
        "total": "all of it",
        "interval": 0.5,
        "samples": {
            "time": [1.0, 1.5],
            "watts": [4.0, 6.0],
            "rails": {"IN": [4.0, 6.0]},
            "loads": {"GPU": [50.0, 50.0]},
            "clocks": {"GPU": [921.6, 921.6]},
            "temperatures": {"GPU": [40.0, 40.0]},
            "state": {"mode": ["MAXN", "MAXN"]},
        },
        "gaps": [],
        "throttled": [],
        "state": {"mode": "MAXN"},
    }
    assert recorder.energy(101.0, 101.5) == pytest.approx(2.5)
    assert recorder.watts(101.0, 101.5) == pytest.approx(5.0)


def test_without_a_source_there_is_nothing_but_the_reason():
    threads = threading.active_count()
    with Recorder(None, 0.0, "no sensor") as recorder:
        assert threading.active_count() == threads
    report = recorder.as_json()
    assert (report["source"], report["reason"], report["interval"]) == ("none", "no sensor", None)
    assert report["samples"] == {
        "time": [], "watts": [], "rails": {}, "loads": {}, "clocks": {}, "temperatures": {}, "state": {},
    }  # fmt: skip
    assert recorder.energy(0, 1) is None and recorder.watts(0, 1) is None


@pytest.mark.parametrize(
    "error, said", [(SourceEnded("it broke"), "it broke"), (ValueError("x"), "script: ValueError")]
)
def test_a_source_that_ends_keeps_what_came(error, said):
    recorder = recorded(sample(101.0), sample(101.5), error)
    report = recorder.as_json()
    assert report["samples"]["time"] == [1.0, 1.5]
    assert report["reason"].startswith(said)
    assert recorder.energy(101.0, 101.5) is not None and recorder.energy(101.0, 103.0) is None


def test_closing_is_no_reason():
    assert recorded(sample(101.0)).reason is None


def test_a_rail_that_disappears_is_null_from_there_and_mentioned_once():
    full, without = {"IN": 5.0, "GPU": 1.0}, {"IN": 5.0}
    rails = [full, full, without, full, without]
    recorder = recorded(*[sample(101 + i / 2, rails=rails[i]) for i in range(5)])
    report = recorder.as_json()
    assert report["samples"]["rails"] == {"IN": [5.0] * 5, "GPU": [1.0, 1.0, None, 1.0, None]}
    assert report["reason"] == "rail GPU gives no readings from 2.0 s on"
    assert recorder.energy(101.0, 103.0) == pytest.approx(10.0)


def test_a_total_that_disappears_is_unknown_from_there():
    rails = {"GPU": 1.0}
    given = [sample(101.0, rails={"IN": 5.0, "GPU": 1.0}), sample(101.5, rails={"IN": 5.0, "GPU": 1.0})]
    recorder = recorded(*given, *[sample(102 + i / 2, None, rails) for i in range(5)])
    report = recorder.as_json()
    assert report["samples"]["watts"] == [5.0, 5.0] + [None] * 5
    assert report["reason"] == "rail IN gives no readings from 2.0 s on; the total is unknown from 2.0 s on"
    assert recorder.energy(101.0, 101.5) is not None and recorder.energy(101.0, 103.5) is None


def test_a_reading_that_comes_twice_counts_once():
    source = Script(sample(101.0), sample(101.0), sample(101.5))
    with Recorder(source, 100.0) as recorder:
        until(lambda: len(recorder._samples) == 2)
    assert recorder.as_json()["samples"]["time"] == [1.0, 1.5]


def test_gaps_are_reported():
    times = [101.0, 101.5, 104.0, 104.5]
    assert recorded(*map(sample, times)).as_json()["gaps"] == [[1.5, 4.0]]


def test_clocks_and_modes_are_reported_with_every_reading():
    report = recorded(sample(101.0, GPU=921), sample(101.5, GPU=921), sample(102.0, GPU=614, mode="5W")).as_json()
    assert report["samples"]["clocks"] == {"GPU": [921, 921, 614]}
    assert report["samples"]["state"] == {"mode": ["MAXN", "MAXN", "5W"]}
    assert report["state"] == {"mode": "MAXN"}


def test_throttling_is_reported_each_time_it_begins():
    reasons = [[], ["hot"], ["hot", "power cap"], [], ["hot"]]
    assert throttled([0, 1, 2, 3, 4], reasons) == ["1.0 s: hot", "2.0 s: power cap", "4.0 s: hot"]


@pytest.mark.parametrize("paced, pause", [(True, 0.0), (False, 0.5)])
def test_between_readings_the_recorder_waits_where_the_source_does_not(paced, pause):
    source, pauses = Script(sample(101.0), sample(101.5)), []
    source.paced = paced
    recorder = Recorder(source, 100.0)
    recorder._stop.wait = lambda seconds: pauses.append(seconds) or recorder._stop.is_set()
    with recorder:
        until(lambda: len(recorder._samples) == 2)
    assert set(pauses) == {pause}


def test_no_thread_and_no_descriptor_is_left():
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        recorded(sample(101.0)).close()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == before
