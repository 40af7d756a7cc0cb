"""How far INT8 changes a bundle's answers to labelled videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import softmax

from tlee.bundle import Bundle
from tlee.calibration.videos import Videos, check_part
from tlee.costs import Costs
from tlee.data.labelled.listing import Entry
from tlee.errors import InputError
from tlee.evaluation.evaluate import answer_each
from tlee.evaluation.results import Answer, Answers
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy
from tlee.reports.metrics import correct, exit_histogram, rounded, share_of, targets_of
from tlee.runtime.chain import Chain

Comparison = dict[str, Any]  # see `ComparedAnswers.compare`


class Configuration(NamedTuple):
    """A chain, and a policy of its own (the random exit draws on from video to video)."""

    chain: Chain
    policy: ExitPolicy

    def answer(self, frames: np.ndarray, costs: Costs) -> Answer:
        """The answer to one video. Raises SegmentError: something computed is not a number."""
        steps = list(exit_steps(self.chain, frames, self.policy))
        last = steps[-1]  # its values hold: nothing has run since
        logits = self.chain.array(last.values.logits)[0] / self.policy.thresholds.temperature[last.exit]
        return Answer.of(steps, softmax(logits.astype(np.float64)).astype(np.float32), costs)


@dataclass(frozen=True)
class ComparedAnswers:
    """The answers of several configurations to the same videos."""

    bundle: Bundle
    entries: list[Entry]  # the videos
    answers: dict[str, Answers]  # by name of the configuration

    def compare(self, name: str, reference: str) -> Comparison:
        """One configuration against another, as plain values; shares from 0 to 1.

        Returns:
            top1, top1_interval; `lost` and `gained`, videos that only the reference or only this one names correctly,
            top1_drop; label_agreement and exit_agreement (same frame and layer) with the reference, each with its
            _interval; total_variation, the mean distance between the class probabilities of both; mean_frames,
            share_of_macs, exit_histogram (T x B + 1). Intervals: 95 %, Wilson.
        """
        own, other = self.answers[name], self.answers[reference]
        targets = targets_of([entry.labels for entry in self.entries], len(self.bundle.labels))
        length, exits = self.bundle.frames.length, self.bundle.exits
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
            "share_of_macs": rounded(own.macs.mean() / Costs.of_bundle(self.bundle).full(length)),
            "exit_histogram": exit_histogram(own.frame, own.exit, (length, exits)),
        }


def answer_videos(
    bundle: Bundle,
    configurations: Mapping[str, Configuration],
    part: str,
    videos: Videos,
    unreadable: dict[Path, InputError],
) -> ComparedAnswers:
    """Let all configurations answer each of the videos, which are read once. Those for which any of them computes
    something that is not a number go to `unreadable`. Raises UsageError: too few of this `part` are left."""
    costs = Costs.of_bundle(bundle)

    def answers(_: Entry, frames: np.ndarray) -> dict[str, Answer]:
        return {name: configuration.answer(frames, costs) for name, configuration in configurations.items()}

    answered = list(answer_each(videos, answers, unreadable))
    entries = [entry for entry, _ in answered]
    check_part(part, entries, bundle.labels)
    length = bundle.frames.length
    arrays = {name: Answers.of([own[name] for _, own in answered], length) for name in configurations}
    return ComparedAnswers(bundle, entries, arrays)
