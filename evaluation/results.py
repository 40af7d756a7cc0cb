"""What an evaluation gives: every video's answer in every mode, and the numbers drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlee.costs import Costs, frame_ends
from tlee.data.labelled.listing import Entry
from tlee.errors import InputError
from tlee.inference import Step
from tlee.modes import EARLY, NONE
from tlee.reports import branch_choice, metrics
from tlee.reports.exit_faults import chance_of, exit_faults
from tlee.reports.metrics import correct, rounded
from tlee.reports.rivals import against_rivals

UNUSED = -1  # in `Answers.layers`, of frames that were not reached


class Answer(NamedTuple):
    """One video's answer in one mode."""

    probabilities: np.ndarray  # (K,)
    frame: int  # where the answer came, from 0, in processing order
    exit: int
    layers: tuple[int, ...]  # the exit that each used frame left at
    macs: int  # multiply-accumulates spent

    @classmethod
    def of(cls, steps: Sequence[Step], probabilities: np.ndarray, costs: Costs) -> Answer:
        """The answer of a video's steps, the last of which gave these probabilities."""
        layers = tuple(steps[i].exit for i in frame_ends(steps))
        return cls(probabilities, steps[-1].frame, steps[-1].exit, layers, costs.spent(steps))


@dataclass(frozen=True)
class Answers:
    """All videos' answers in one mode, as arrays: see `Answer`."""

    probabilities: np.ndarray  # (N, K) float32
    frame: np.ndarray  # (N,) int64, as `exit` and `macs`
    exit: np.ndarray
    layers: np.ndarray  # (N, T) int64, UNUSED for frames that were not reached
    macs: np.ndarray

    @classmethod
    def of(cls, answers: Sequence[Answer], frames: int) -> Answers:
        """Arrays from single answers; videos have `frames` frames (T)."""
        layers = np.full((len(answers), frames), UNUSED, np.int64)
        for row, answer in zip(layers, answers):
            row[: len(answer.layers)] = answer.layers
        numbers = np.array([(a.frame, a.exit, a.macs) for a in answers], np.int64)
        probabilities = np.stack([a.probabilities for a in answers]).astype(np.float32)
        return cls(probabilities, numbers[:, 0], numbers[:, 1], layers, numbers[:, 2])

    def select(self, videos: Sequence[int]) -> Answers:
        """The same for some of the videos, by their numbers."""
        return Answers(*(getattr(self, field.name)[list(videos)] for field in fields(self)))

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) the most probable classes."""
        return self.probabilities.argmax(1)


@dataclass(frozen=True)
class Evaluation:
    """A model's answers to labelled videos.

    Attributes:
        classes: K names.
        entries: the N videos that were evaluated, labels among `classes`.
        unreadable: the others, and why.
        modes: answers by mode, keys of `tlee.modes.MODES` (but those of as many frames as the videos have).
        fixed: (N, T, B + 1) int64, the class that every fixed exit predicts when each frame leaves there.
        fixed_macs: (T, B + 1) int64, what answering there costs; the last is the full computation.

    Examples:
        >>> evaluation = evaluate(open_model("digits.tlee"), listing)  # doctest: +SKIP
        >>> evaluation.summary()["modes"]["early exits"]["top1"]  # doctest: +SKIP
        >>> hard = [i for i, entry in enumerate(evaluation.entries) if "hard" in entry.path.stem]  # doctest: +SKIP
        >>> evaluation.select(hard).summary()["modes"]["early exits"]["mean_frames"]  # doctest: +SKIP
    """

    classes: list[str]
    entries: list[Entry]
    unreadable: dict[Path, InputError]
    modes: dict[str, Answers]
    fixed: np.ndarray
    fixed_macs: np.ndarray

    def select(self, videos: Sequence[int]) -> Evaluation:
        """The same for some of the videos, by their numbers."""
        return replace(
            self,
            entries=[self.entries[i] for i in videos],
            modes={mode: answers.select(videos) for mode, answers in self.modes.items()},
            fixed=self.fixed[list(videos)],
        )

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON; `tlee.evaluation.report` describes them."""
        labels = [entry.labels for entry in self.entries]
        targets = metrics.targets_of(labels, len(self.classes))
        return {
            "videos": len(self.entries),
            "several_labels": any(len(own) > 1 for own in labels),
            "modes": {mode: self._of_mode(answers, targets) for mode, answers in self.modes.items()},
            "fixed_exits": {"top1": rounded(correct(self.fixed, targets).mean(0)), "macs": self.fixed_macs.tolist()},
            "confusion": metrics.confusion(self.modes[EARLY].predicted, labels, len(self.classes)).tolist(),
            "per_class": self._per_class(targets),
            "rivals": self._rivals(targets),
            "exit_faults": {
                "one_frame": exit_faults(self.fixed[:, 0], labels, self.classes),
                "all_frames": exit_faults(self.fixed[:, -1], labels, self.classes),
            },
            "branches": self._branches(targets),
            "tail_reached": int((self.modes[EARLY].layers == self.fixed.shape[-1] - 1).any(1).sum()),
        }

    def _rivals(self, targets: np.ndarray) -> dict[str, dict[str, Any]]:
        hits = {mode: correct(answers.predicted, targets) for mode, answers in self.modes.items()}
        return against_rivals(hits, {mode: float(answers.macs.mean()) for mode, answers in self.modes.items()})

    def _branches(self, targets: np.ndarray) -> dict[str, Any]:
        hits, branches = correct(self.fixed, targets), self.fixed.shape[-1] - 1
        layers = self.modes[EARLY].layers
        useless = branch_choice.useless_branches(layers, hits, self.fixed_macs, chance_of(targets))
        kept = branch_choice.kept_branches(useless, branches)
        return {"keep": kept, "suggestion": branch_choice.branch_line(useless, branches)}

    def _of_mode(self, answers: Answers, targets: np.ndarray) -> dict[str, Any]:
        top5 = metrics.top_accuracy(answers.probabilities, targets, 5)
        return {
            **metrics.share_of("top1", correct(answers.predicted, targets)),
            "top5": None if top5 is None else rounded(top5),
            "mean_average_precision": rounded(metrics.mean_average_precision(answers.probabilities, targets)),
            "mean_frames": rounded(answers.frame.mean() + 1),
            "mean_exit_layer": rounded(answers.exit.mean()),
            "mean_frame_layer": rounded(answers.layers[answers.layers != UNUSED].mean()),
            "ran_to_last_frame": rounded((answers.frame == len(self.fixed_macs) - 1).mean()),
            "mean_macs": rounded(answers.macs.mean()),
            "share_of_macs": rounded(answers.macs.mean() / self.fixed_macs[-1, -1]),
            "exit_histogram": metrics.exit_histogram(answers.frame, answers.exit, self.fixed_macs.shape),
        }

    def _per_class(self, targets: np.ndarray) -> list[dict[str, Any]]:
        first = np.array([entry.labels[0] for entry in self.entries])
        early = self.modes[EARLY]
        right = {mode: correct(self.modes[mode].predicted, targets) for mode in (EARLY, NONE)}
        return [
            {
                "class": self.classes[number],
                "videos": int(mine.sum()),
                "top1": rounded(right[EARLY][mine].mean()),
                "top1_no_exit": rounded(right[NONE][mine].mean()),
                "mean_frames": rounded(early.frame[mine].mean() + 1),
                "share_of_macs": rounded(early.macs[mine].mean() / self.fixed_macs[-1, -1]),
            }
            for number, mine in ((number, first == number) for number in np.unique(first))
        ]
