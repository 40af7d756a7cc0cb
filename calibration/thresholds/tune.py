"""Thresholds for a bundle: recorded once, searched in simulation, chosen by real runs, verified.

1. The tuning videos are recorded, and temperatures fitted to the recording.
2. Rules of few thresholds, and with MANY videos those of an evolution strategy, are simulated: the Pareto front.
3. The front's policies run through the tuning videos for real; operating points are chosen from these outcomes.
4. Everything that is reported runs through the held-out videos; the operating points through the plain runtime too.
   Where none were held out, through the tuning videos: what points lose is cross-fitted then, see `choice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.thresholds.baselines import Baselines, published_rule, shared_rule
from tlee.calibration.thresholds.choice import Fold, Levels, folds_of, halves_of, levels
from tlee.calibration.thresholds.costs import Metric
from tlee.calibration.thresholds.points import Target, named_points
from tlee.calibration.thresholds.policies import Policies, draw_log_odds, from_log_odds
from tlee.calibration.thresholds.rules import simple_rules
from tlee.calibration.thresholds.search import calibration_errors, fit_temperatures, pareto, search_front, thinned
from tlee.calibration.thresholds.simulate import Outcomes, frame_costs, simulate, simulate_each
from tlee.calibration.thresholds.trace import Recording, record
from tlee.calibration.thresholds.trace_file import TraceFile, fingerprint
from tlee.calibration.videos import Parts, VideoReader, Videos, check_part
from tlee.data.labelled.listing import Entry
from tlee.errors import UsageError
from tlee.evaluation.evaluate import answer_each
from tlee.evaluation.replay import replaying_chain
from tlee.policy import ExitPolicy
from tlee.runtime import Recognizer, Result
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

MANY = 400  # tuning videos from which each exit may have thresholds of its own
REFERENCES = 640  # policies drawn to decide which states of a video are recorded
RECORD_AGAIN = "record again with --data"


@dataclass(frozen=True)
class Tuning:
    """The result of a tuning."""

    traced: TraceFile  # what was searched
    front: Policies  # by rising cost
    simulated: Outcomes  # of the front on the tuning videos, as the search saw them
    run: Outcomes  # and as they really are
    full: float  # accuracy of every frame to the tail there
    levels: Levels  # of which the points are chosen; places on the front
    chosen: dict[str, int]  # operating points: by name, the level
    aim: float | None  # points of accuracy that the target may lose
    held_out: HeldOut

    @property
    def points(self) -> dict[str, int]:
        """Operating points: by name, the place on the front."""
        return {name: int(self.levels.place[level]) for name, level in self.chosen.items()}


@dataclass(frozen=True)
class HeldOut:
    """Measurements on videos that had no part in any choice; on the tuning videos where none were held out."""

    entries: list[Entry]  # the videos
    front: Outcomes  # of the front's policies
    published: Outcomes  # of rules with fewer thresholds at every setting, see `baselines.py`
    shared: Outcomes
    baselines: Baselines  # random and fixed exits
    results: dict[str, list[Result]]  # of the plain runtime at each operating point, a result per video
    calibration_error: np.ndarray  # (2, E) without temperatures and with


class Tuner:
    """Tunes one bundle, its segments in one precision; `threads` None for all cores.

    Raises:
        UsageError: a random gate, or no variant in this precision.
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
        log_odds, ones = draw_log_odds(np.random.default_rng(seed), REFERENCES, self.exits), np.ones(self.exits)
        tuning = self.reader.tuning(videos.tuning, "recording")
        recording, entries = self._record(tuning, from_log_odds(log_odds, ones))
        check_part("tuning", entries, self.bundle.labels)
        temperature = fit_temperatures(recording, seed)
        trace = recording.trace(temperature)
        errors = np.array([calibration_errors(t) for t in (recording.trace(ones), trace)])
        model = fingerprint(self.bundle, self.precision)
        return TraceFile(model, self.precision, self.frames, trace, temperature, errors, videos, data)

    def tune(self, traced: TraceFile, metric: Metric, target: Target, seed: int) -> Tuning:
        """Steps 2 to 4.

        Raises:
            UsageError: the trace is of another model or sampling, the target is out of reach, too few videos can be
                read.
        """
        sizes = traced.frames, traced.trace.child.shape[1], len(traced.videos.tuning.classes)
        own = self.frames, self.exits, self.classes
        if traced.model != fingerprint(self.bundle, self.precision) or sizes != own:
            raise UsageError(self.bundle.path, "the trace was recorded of another model or sampling", RECORD_AGAIN)
        table = frame_costs(metric.costs, self.frames)
        candidates, folds = self._candidates(traced, table, seed)
        believed = simulate(traced.trace, candidates, table)
        kept = thinned(pareto(believed.accuracy, believed.cost), believed.cost)
        front, simulated = candidates.select(kept), Outcomes(*(values[kept] for values in believed))
        baselines = Baselines(self._chain, self.frames, self.exits, metric.costs)
        again, _ = self._record(self.reader.tuning(traced.videos.tuning, "running"), front, baselines.add)
        if len(again) != len(traced.trace.root):
            problem = f"holds {len(traced.trace.root)} videos, of which {len(again)} can be read now"
            raise UsageError("trace", problem, RECORD_AGAIN)
        real = again.trace(traced.temperature)
        found = levels(simulate_each(real, candidates, table), baselines.without_exits, folds, kept)
        found = found._replace(place=(kept[:, None] == found.place).argmax(0))
        chosen = named_points(baselines.full - found.loss / 100, found.cost, baselines.full, metric.unit, target)
        held_out = self._verify(traced, metric, front, {name: int(found.place[i]) for name, i in chosen.items()})
        run = simulate(real, front, table)
        return Tuning(traced, front, simulated, run, baselines.full, found, chosen, target.max_drop, held_out)

    def _candidates(self, traced: TraceFile, table: np.ndarray, seed: int) -> tuple[Policies, list[Fold]]:
        """Policies to choose of, and folds to say what the choice loses."""
        trace, simple = traced.trace, simple_rules(traced.temperature)
        videos = len(trace.root)
        if videos < MANY:
            return simple, folds_of(videos, len(simple), seed)
        halves, _ = halves_of(videos, (0, 0, 0), seed)
        candidates = [simple]
        for seen in map(trace.select, halves):
            simulation = partial(simulate, seen, costs=table)
            candidates.append(search_front(simulation, traced.temperature, seed)[0])
        return Policies.joined(candidates), halves_of(videos, [len(own) for own in candidates], seed)[1]

    def _verify(self, traced: TraceFile, metric: Metric, front: Policies, points: dict[str, int]) -> HeldOut:
        table, ones = frame_costs(metric.costs, self.frames), np.ones(self.exits)
        published, shared = published_rule(self.exits), shared_rule(self.exits)
        baselines = Baselines(self._chain, self.frames, self.exits, metric.costs)
        results: dict[str, list[Result]] = {name: [] for name in points}
        recognizers = {}
        for name, place in points.items():
            policy = ExitPolicy(self.frames, front.thresholds(place))
            recognizers[name] = Recognizer(self.bundle, Chain(self.bundle, self._backend), policy)

        def also(clip: np.ndarray, labels: tuple[int, ...]) -> None:
            baselines.add(clip, labels)
            for name, recognizer in recognizers.items():
                results[name].append(recognizer.recognize(clip))

        if traced.videos.held_out.entries:
            videos = self.reader.held_out(traced.videos.held_out, "verifying")
        else:
            videos = self.reader.tuning(traced.videos.tuning, "verifying")
        recording, entries = self._record(videos, Policies.joined([front, published, shared]), also)
        check_part("held-out" if traced.videos.held_out.entries else "tuning", entries, self.bundle.labels)
        calibrated, uncalibrated = recording.trace(traced.temperature), recording.trace(ones)
        return HeldOut(
            entries,
            simulate(calibrated, front, table),
            simulate(uncalibrated, published, table),
            simulate(uncalibrated, shared, table),
            baselines,
            results,
            np.array([calibration_errors(uncalibrated), calibration_errors(calibrated)]),
        )

    def _record(
        self, videos: Videos, references: Policies, also: Callable[[np.ndarray, tuple[int, ...]], None] | None = None
    ) -> tuple[Recording, list[Entry]]:
        """Record videos; `also` is called with each clip and its labels."""
        recording = Recording(self.exits, self.classes)

        def add(entry: Entry, clip: np.ndarray) -> None:
            tree = record(self._chain, clip, references, self.frames, self.exits)
            if also:
                also(clip, entry.labels)
            recording.add(tree, entry.labels)

        return recording, [entry for entry, _ in answer_each(videos, add, self.reader.unreadable)]
