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
    int8_macs: Mapping[str, int] = {}  # multiply-accumulates in INT8, of the segments that have some

    def answer(self, frames: np.ndarray, costs: Costs, int8_costs: Costs) -> tuple[Answer, int]:
        """The answer to one video, and how many of its multiply-accumulates were in INT8. Raises SegmentError:
        something computed is not a number."""
        steps = list(exit_steps(self.chain, frames, self.policy))
        last = steps[-1]  # its values hold: nothing has run since
        logits = self.chain.array(last.values.logits)[0] / self.policy.thresholds.temperature[last.exit]
        answer = Answer.of(steps, softmax(logits.astype(np.float64)).astype(np.float32), costs)
        return answer, int8_costs.spent(steps)


@dataclass(frozen=True)
class ComparedAnswers:
    """The answers of several configurations to the same videos."""

    bundle: Bundle
    entries: list[Entry]  # the videos
    answers: dict[str, Answers]  # by name of the configuration
    int8_macs: dict[str, np.ndarray]  # (N,) multiply-accumulates in INT8, by the same

    def compare(self, name: str, reference: str) -> Comparison:
        """One configuration against another, as plain values; shares from 0 to 1.

        Returns:
            top1, top1_interval; `lost` and `gained`, videos that only the reference or only this one names correctly,
            top1_drop, with `drop_interval`; label_agreement and exit_agreement (same frame and layer) with the
            reference, each with its _interval; expected_agreement, and change, the root mean square of the changes of
            `margins_and_changes`; total_variation, the mean distance between the class probabilities of both;
            mean_frames, share_of_macs, exit_histogram (T x B + 1); int8_share, of the multiply-accumulates of all these
            videos as they exit what INT8 computes. Intervals: 95 %, but for the drop's Wilson's.
        """
        own, other = self.answers[name], self.answers[reference]
        targets = targets_of([entry.labels for entry in self.entries], len(self.bundle.labels))
        length, exits = self.bundle.frames.length, self.bundle.exits
        right, before = correct(own.predicted, targets), correct(other.predicted, targets)
        lost, gained = int((before & ~right).sum()), int((right & ~before).sum())
        margins, changes = margins_and_changes(other.probabilities, own.probabilities)
        return {
            **share_of("top1", right),
            **share_of("label_agreement", own.predicted == other.predicted),
            **share_of("exit_agreement", (own.frame == other.frame) & (own.exit == other.exit)),
            "expected_agreement": rounded(expected_agreement(margins[:, 0], changes[:, 0])),
            "change": rounded(np.sqrt(np.square(changes).mean())),
            "lost": lost,
            "gained": gained,
            "top1_drop": rounded(before.mean() - right.mean()),
            "top1_drop_interval": drop_interval(lost, gained, len(right)),
            "total_variation": rounded(np.abs(own.probabilities - other.probabilities).sum(1).mean() / 2),
            "mean_frames": rounded(own.frame.mean() + 1),
            "share_of_macs": rounded(own.macs.mean() / Costs.of_bundle(self.bundle).full(length)),
            "int8_share": rounded(self.int8_macs[name].sum() / own.macs.sum()),
            "exit_histogram": exit_histogram(own.frame, own.exit, (length, exits)),
        }


def margins_and_changes(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far answers stand from other ones, and how far they moved, in logits over the deviation of a video's logits.

    Args:
        before, after: (N, K) class probabilities, K at least 2.

    Returns:
        margins: (N, K - 1), the logit of the most probable class before less that of each other one, the
            runner-up first.
        changes: (N, K - 1), of these.
    """
    logits, moved = (np.log(np.maximum(given, 1e-30, dtype=np.float64)) for given in (before, after))
    rows, best = np.arange(len(logits))[:, None], logits.argmax(1)[:, None]
    others = np.argsort(-logits, 1, kind="stable")[:, 1:]
    scale = np.maximum(logits.std(1, keepdims=True), 1e-6)
    margins = logits[rows, best] - logits[rows, others]
    return margins / scale, (moved[rows, best] - moved[rows, others] - margins) / scale


def expected_agreement(margins: np.ndarray, changes: np.ndarray) -> float:
    """The share of labels that stay if any change may meet any margin, up as often as down: for a few tens of videos
    less a matter of chance than the share that stayed.

    Args:
        margins, changes: (N,), those of the runner-up.
    """
    sizes = np.sort(np.abs(changes))
    larger = 1 - np.searchsorted(sizes, margins, side="right") / sizes.size
    return float(1 - larger.mean() / 2)


def drop_interval(lost: int, gained: int, videos: int) -> list[float]:
    """95 % interval of the accuracy lost, where so many videos are named rightly by one only. Source: Agresti and Min,
    "Simple improved confidence intervals for comparing matched proportions", 2005."""
    changed, drop, total = lost + gained + 1, lost - gained, videos + 2
    half = 1.96 * np.sqrt(changed - drop**2 / total) / total
    return rounded([drop / total - half, drop / total + half])


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
    int8_costs = {
        name: Costs({segment: configuration.int8_macs.get(segment, 0) for segment in bundle.segments})
        for name, configuration in configurations.items()
    }

    def answers(_: Entry, frames: np.ndarray) -> dict[str, tuple[Answer, int]]:
        return {name: own.answer(frames, costs, int8_costs[name]) for name, own in configurations.items()}

    answered = list(answer_each(videos, answers, unreadable))
    entries = [entry for entry, _ in answered]
    check_part(part, entries, bundle.labels)
    length = bundle.frames.length
    arrays = {name: Answers.of([own[name][0] for _, own in answered], length) for name in configurations}
    int8_macs = {name: np.array([own[name][1] for _, own in answered]) for name in configurations}
    return ComparedAnswers(bundle, entries, arrays, int8_macs)
