"""Readings of power during a measurement: taken in the background, kept, and looked up by time."""

import threading
from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tlee.power import integral
from tlee.power.source import Sample, Source, SourceEnded

DIGITS = 4


class Recorder:
    """Reads a source until it is closed, which closes the source, too. A source that ends or fails ends only the
    readings: what came is kept, and `reason` says what happened.

    Args:
        source: None where there is none: nothing is recorded then.
        start: `time.perf_counter()` at which the measurement began; times in `as_json` are relative to it.
        reason: why there is no source, for people.
    """

    def __init__(self, source: Optional[Source], start: float, reason: Optional[str] = None) -> None:
        self._source = source
        self._start = start
        self._notes = {"source": reason} if reason else {}  # by subject: each is reported once
        self._samples: List[Sample] = []
        self._known: List[Tuple[float, float]] = []  # moments and watts, where these are known
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)

    @property
    def reason(self) -> Optional[str]:
        """Why there are no readings, or what happened to them."""
        return "; ".join(self._notes.values()) or None

    def __enter__(self) -> "Recorder":
        if self._source is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the readings; can be done twice."""
        self._stop.set()
        if self._source is not None:
            self._source.close()
        if self._thread.is_alive():
            self._thread.join()

    def energy(self, start: float, end: float) -> Optional[float]:
        """Joules between two moments of `time.perf_counter()`; None where readings do not say, see integral.py."""
        # With one reading to either side: a measurement asks for many short times out of many readings.
        first, last = bisect_left(self._known, (start,)), bisect_right(self._known, (end, float("inf")))
        near = self._known[max(first - 1, 0) : last + 1]
        if self._source is None or not near:
            return None
        times, watts = zip(*near)
        return integral.energy(times, watts, start, end, self._source.interval)

    def watts(self, start: float, end: float) -> Optional[float]:
        """Mean power between two moments, or None."""
        joules = self.energy(start, end)
        return None if joules is None else joules / (end - start)

    def as_json(self) -> Dict[str, Any]:
        """All readings as plain values: `power` of a measurement, see docs/benchmarks.md."""
        source, samples = self._source, list(self._samples)
        times = [sample.time - self._start for sample in samples]
        columns: Dict[str, Any] = {"time": _rounded(times), "watts": _rounded([sample.watts for sample in samples])}
        for group in ("rails", "loads", "clocks", "temperatures", "state"):
            rows = [getattr(sample, group) for sample in samples]
            names = sorted(set().union(*rows))
            columns[group] = {name: _rounded([row.get(name) for row in rows]) for name in names}
        facts: Dict[str, Any] = {"source": "none", "total": "", "interval": None, "gaps": []}
        if source is not None:
            gaps = integral.gaps([moment - self._start for moment, _ in self._known], source.interval)
            facts = {"source": source.name, "total": source.total, "interval": source.interval}
            facts["gaps"] = [_rounded(gap) for gap in gaps]
        return dict(
            facts,
            reason=self.reason,
            samples=columns,
            throttled=throttled(times, [sample.throttled for sample in samples]),
            state=dict(samples[0].state) if samples else {},
        )

    def _sample(self) -> None:
        assert self._source is not None
        pause = 0.0 if self._source.paced else self._source.interval
        while not self._stop.wait(pause):
            try:
                sample = self._source.read()
            except SourceEnded as error:
                return self._note("end", str(error))
            except Exception as error:  # no fault of a vendor's library may end a measurement
                return self._note("end", f"{self._source.name}: {error!r}")
            if not self._samples or sample.time > self._samples[-1].time:
                self._note_losses(sample)
                self._samples.append(sample)
                if sample.watts is not None:
                    self._known.append((sample.time, sample.watts))

    def _note_losses(self, sample: Sample) -> None:
        """Note what this reading lacks and the one before had."""
        if not self._samples:
            return
        last, moment = self._samples[-1], f"from {sample.time - self._start:.1f} s on"
        for rail in sorted(set(last.rails) - set(sample.rails)):
            self._note(rail, f"rail {rail} gives no readings {moment}")
        if last.watts is not None and sample.watts is None:
            self._note("total", f"the total is unknown {moment}")

    def _note(self, subject: str, text: str) -> None:
        if not self._stop.is_set():  # closing ends a reading that is under way
            self._notes.setdefault(subject, text)


def throttled(times: List[float], reasons: List[List[str]]) -> List[str]:
    """Each time that a reason came into force.

    Examples:
        >>> throttled([0.0, 0.5, 1.0], [[], ["power cap"], ["power cap"]])
        ['0.5 s: power cap']
    """
    changes = zip(times, [[], *reasons], reasons)
    return [f"{moment:.1f} s: {why}" for moment, before, now in changes for why in now if why not in before]


def _rounded(values: Sequence[Any]) -> List[Any]:
    return [round(value, DIGITS) if isinstance(value, float) else value for value in values]
