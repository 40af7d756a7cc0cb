"""How far other forms of a bundle's segments change its answers to labelled videos."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.videos import check_part
from tlee.costs import Costs, frame_ends
from tlee.data.labelled.listing import Entry
from tlee.errors import InputError, SegmentError
from tlee.evaluation.evaluate import softmax
from tlee.evaluation.results import Answer, Answers
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy
from tlee.reports.metrics import correct, exit_histogram, rounded, share_of, targets_of
from tlee.runtime.chain import Chain


class Answered(NamedTuple):
    """A way of answering: a chain, and a policy of its own (the random exit's draws go on from video to video)."""

    chain: Chain
    policy: ExitPolicy


@dataclass(frozen=True)
class Measured:
    """The answers of several walks to the same videos.

    Attributes:
        entries: the N videos.
        answers: by name of the walk.
        classes, frames, exits: K, T and B + 1.
        full_macs: what every frame to the tail costs.
    """

    entries: list[Entry]
    answers: dict[str, Answers]
    classes: int
    frames: int
    exits: int
    full_macs: int

    def compare(self, name: str, reference: str) -> dict[str, Any]:
        """A walk beside another one, as plain values; shares from 0 to 1.

        Returns:
            top1, top1_interval; `lost` and `gained`, videos that only the reference or only this walk names rightly,
            top1_drop; label_agreement and exit_agreement (same frame and layer) with the reference, each with its
            _interval; total_variation, the mean distance between the class probabilities of both; mean_frames,
            share_of_macs, exit_histogram (T x B + 1). Intervals: 95 %, Wilson.
        """
        own, other = self.answers[name], self.answers[reference]
        targets = targets_of([entry.labels for entry in self.entries], self.classes)
        right, before = correct(own.predicted, targets), correct(other.predicted, targets)
        return {
            **share_of("top1", right),
            **share_of("label_agreement", own.predicted == other.predicted),
            **share_of("exit_agreement", (own.frame == other.frame) & (own.exit == other.exit)),
            "lost": int((before & ~right).sum()),
            "gained": int((right & ~before).sum()),
            "top1_drop": rounded(before.mean() - right.mean()),
            "total_variation": rounded(np.abs(own.probabilities - other.probabilities).sum(1).mean() / 2),
            "mean_frames": rounded(own.frame.mean() + 1),
            "share_of_macs": rounded(own.macs.mean() / self.full_macs),
            "exit_histogram": exit_histogram(own.frame, own.exit, (self.frames, self.exits)),
        }


def measure(
    bundle: Bundle,
    walks: Mapping[str, Answered],
    part: str,
    videos: Iterable[tuple[Entry, np.ndarray]],
    failed: dict[Path, InputError],
) -> Measured:
    """Let all walks answer each of the videos, which are read once.

    Args:
        part: what the videos are called.
        videos: entries with their frames, (T, H, W, 3).
        failed: where videos go for which a segment computes something that is not a number, on any of the walks.

    Raises:
        UsageError: too few videos gave an answer.
    """
    costs = Costs({name: segment.macs for name, segment in bundle.segments.items()})
    entries: list[Entry] = []
    answers: dict[str, list[Answer]] = {name: [] for name in walks}
    for entry, frames in videos:
        try:
            own = {name: answer(walk, frames, costs) for name, walk in walks.items()}
        except SegmentError as error:
            failed[entry.path] = InputError(entry.path, error.problem, error.remedy)
            continue
        entries.append(entry)
        for name, given in own.items():
            answers[name].append(given)
    check_part(part, entries, bundle.labels)
    length = bundle.frames.length
    arrays = {name: Answers.of(given, length) for name, given in answers.items()}
    return Measured(entries, arrays, len(bundle.labels), length, bundle.exits, costs.full(length))


def answer(way: Answered, frames: np.ndarray, costs: Costs) -> Answer:
    """One video's answer.

    Raises:
        SegmentError: something computed is not a number.
    """
    steps = list(exit_steps(way.chain, frames, way.policy))
    last = steps[-1]  # its values hold: nothing has run since
    logits = way.chain.array(last.values.logits)[0] / way.policy.thresholds.temperature[last.exit]
    layers = tuple(steps[i].exit for i in frame_ends(steps))
    return Answer(softmax(logits).astype(np.float32), last.frame, last.exit, layers, costs.spent(steps))
