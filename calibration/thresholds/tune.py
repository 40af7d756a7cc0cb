"""Thresholds for a bundle: recorded once, searched in simulation, chosen from really run policies, verified on others.

1. The tuning videos are recorded, and temperatures fitted to what was recorded.
2. The Pareto front is searched in simulation.
3. The front's policies run through the tuning videos for real; the operating points are chosen from what they did.
4. Everything that is reported runs through the held-out videos; the operating points through the plain runtime too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.thresholds.baselines import Baselines, published_rule, shared_rule
from tlee.calibration.thresholds.costs import Metric
from tlee.calibration.thresholds.points import Target, named_points
from tlee.calibration.thresholds.policies import Policies, drawn_odds, from_odds
from tlee.calibration.thresholds.search import calibration_errors, fit_temperatures, search_front
from tlee.calibration.thresholds.simulate import Outcomes, frame_costs, simulate
from tlee.calibration.thresholds.trace import Recording, record
from tlee.calibration.thresholds.trace_file import TraceFile, fingerprint
from tlee.calibration.videos import Parts, VideoReader, check_part
from tlee.data.labelled.listing import Entry
from tlee.errors import InputError, SegmentError, UsageError
from tlee.evaluation.replay import replaying_chain
from tlee.policy import ExitPolicy
from tlee.runtime import Recognizer, Result
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

REFERENCES = 640  # policies drawn to decide which states of a video are recorded
Videos = Iterable[tuple[Entry, np.ndarray]]


@dataclass(frozen=True)
class Tuning:
    """What tuning found.

    Attributes:
        traced: the trace that was searched.
        front: policies, by rising cost.
        simulated, run: what the search believed that they do on the tuning videos, and what they did.
        full: accuracy of every frame to the tail there.
        points: operating points: by name, the place on the front.
        held_out: everything on the other videos.
    """

    traced: TraceFile
    front: Policies
    simulated: Outcomes
    run: Outcomes
    full: float
    points: dict[str, int]
    held_out: HeldOut


@dataclass(frozen=True)
class HeldOut:
    """What was measured on videos that had no part in any choice.

    Attributes:
        entries: the videos.
        front: what the front's policies did.
        published, shared: and rules with fewer thresholds at every setting, see `baselines.py`.
        rivals: and random and fixed exits.
        results: what the plain runtime answered at each operating point, a result per video.
        calibration_error: (2, E) without temperatures and with.
    """

    entries: list[Entry]
    front: Outcomes
    published: Outcomes
    shared: Outcomes
    rivals: Baselines
    results: dict[str, list[Result]]
    calibration_error: np.ndarray


class Tuner:
    """Tunes one bundle.

    Args:
        bundle: with a gate that is no random draw.
        precision: of its segments.
        reader: reads the videos.
        threads: CPU threads, None for all cores.

    Raises:
        UsageError: a gate that draws, or no variant in this precision.
    """

    def __init__(self, bundle: Bundle, reader: VideoReader, precision: str, threads: int | None = None) -> None:
        if bundle.manifest["model"]["gate"] == "random":
            raise UsageError(bundle.path, "its gate draws at random, thresholds change nothing", "train a gate")
        self.bundle, self.reader, self.precision = bundle, reader, precision
        self.frames, self.exits, self.classes = bundle.frames.length, bundle.exits, len(bundle.labels)
        self._backend = OnnxBackend(bundle, threads, precision=precision)
        self._chain = replaying_chain(bundle, self._backend)

    def record(self, videos: Parts, seed: int, data: dict[str, Any]) -> TraceFile:
        """Step 1. Raises UsageError: too few videos can be read, or none of a class."""
        drawn = drawn_odds(np.random.default_rng(seed), REFERENCES, self.exits)
        references = from_odds(drawn, np.ones(self.exits))
        recording, entries = self._record(self.reader.tuning(videos.tuning, "recording"), references)
        check_part("tuning", entries, self.bundle.labels)
        temperature = fit_temperatures(recording, seed)
        errors = [calibration_errors(recording, t) for t in (np.ones(self.exits), temperature)]
        model = fingerprint(self.bundle, self.precision)
        return TraceFile(
            model,
            self.precision,
            self.frames,
            recording.trace(temperature),
            temperature,
            np.array(errors),
            videos,
            data,
        )

    def tune(self, traced: TraceFile, metric: Metric, target: Target, seed: int) -> Tuning:
        """Steps 2 to 4.

        Raises:
            UsageError: the trace is of another model, the target is out of reach, too few videos can be read.
        """
        sizes = traced.frames, traced.trace.child.shape[1], len(traced.videos.tuning.classes)
        own = self.frames, self.exits, self.classes
        if traced.model != fingerprint(self.bundle, self.precision) or sizes != own:
            raise UsageError(self.bundle.path, "the trace was recorded of another model", "record again with --data")
        table = frame_costs(metric.costs, self.frames)
        front, simulated = search_front(lambda p: simulate(traced.trace, p, table), traced.temperature, seed)
        rivals = Baselines(self._chain, self.frames, self.exits, metric.costs)
        videos = self.reader.tuning(traced.videos.tuning, "running")
        again, _ = self._record(videos, front, lambda entry, clip: rivals.add(clip, entry.labels))
        if len(again) != len(traced.trace.root):
            problem = f"holds {len(traced.trace.root)} videos, of which {len(again)} can be read now"
            raise UsageError("trace", problem, "record again with --data")
        run = simulate(again.trace(traced.temperature), front, table)
        points = named_points(run.accuracy, run.cost, rivals.full, metric.unit, target)
        held_out = self._verify(traced, metric, front, points)
        return Tuning(traced, front, simulated, run, rivals.full, points, held_out)

    def _verify(self, traced: TraceFile, metric: Metric, front: Policies, points: dict[str, int]) -> HeldOut:
        table = frame_costs(metric.costs, self.frames)
        published, shared = published_rule(self.exits), shared_rule(self.exits)
        rivals = Baselines(self._chain, self.frames, self.exits, metric.costs)
        results: dict[str, list[Result]] = {name: [] for name in points}
        plain = {
            name: Recognizer(
                self.bundle, Chain(self.bundle, self._backend), ExitPolicy(self.frames, front.thresholds(i))
            )
            for name, i in points.items()
        }

        def beside(entry: Entry, clip: np.ndarray) -> None:
            rivals.add(clip, entry.labels)
            for name, recognizer in plain.items():
                results[name].append(recognizer.recognize(clip))

        videos = self.reader.held_out(traced.videos.held_out, "verifying")
        recording, entries = self._record(videos, Policies.joined([front, published, shared]), beside)
        check_part("held-out", entries, self.bundle.labels)
        ones = np.ones(self.exits)
        uncalibrated = recording.trace(ones)
        return HeldOut(
            entries,
            simulate(recording.trace(traced.temperature), front, table),
            simulate(uncalibrated, published, table),
            simulate(uncalibrated, shared, table),
            rivals,
            results,
            np.array([calibration_errors(recording, t) for t in (ones, traced.temperature)]),
        )

    def _record(
        self, videos: Videos, references: Policies, beside: Callable[[Entry, np.ndarray], None] | None = None
    ) -> tuple[Recording, list[Entry]]:
        """Record videos; `beside` runs on each as well. A video that gives no numbers counts as unreadable."""
        recording, entries = Recording(self.frames, self.exits, self.classes), []
        for entry, clip in videos:
            try:
                tree = record(self._chain, clip, references, self.frames, self.exits)
                if beside:
                    beside(entry, clip)
            except (SegmentError, InputError) as error:
                self.reader.unreadable[entry.path] = InputError(entry.path, error.problem, error.remedy)
                continue
            recording.add(tree, entry.labels)
            entries.append(entry)
        return recording, entries
