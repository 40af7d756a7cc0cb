"""Every mode's answer and every fixed exit's, video by video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlee.costs import frame_ends
from tlee.data.labelled.listing import Listing
from tlee.data.labelled.loader import ClipDataset, readable_batches
from tlee.errors import InputError, SegmentError, UsageError
from tlee.evaluation.evaluated import EvaluatedModel, are_names
from tlee.evaluation.results import Answer, Answers, Evaluation
from tlee.inference import NOT_A_NUMBER, Stages, Step, exit_steps
from tlee.modes import MODES, NONE, PLAIN, fixed_exits, policies
from tlee.policy import ExitPolicy

OTHER_MODEL = "give the videos it was trained for, or the model that was trained for these"


def evaluate(subject: EvaluatedModel, listing: Listing, batch: int = 8, workers: int = 0) -> Evaluation:
    """Let a subject answer all videos of a listing in all modes.

    Args:
        listing: labelled videos; its classes must fit the subject's, see `fitted`.
        batch: videos whose frames are held at once.
        workers: processes that decode; 0 for this one.

    Raises:
        UsageError: the classes do not fit, or not one video gave an answer.

    Example:
        listing = read_listing("folders", "digits/test")
        evaluation = evaluate(open_subject("digits.tlee"), listing)
        evaluation.modes["early exits"].predicted    # (N,) class numbers
    """
    listing = fitted(listing, subject.labels, subject.path)
    clips, contest = ClipDataset(listing, subject.spec), ModeEvaluator(subject)
    answered: dict[int, tuple[dict[str, Answer], np.ndarray]] = {}
    unreadable: dict[Path, InputError] = {}
    for entries, frames in readable_batches(clips, unreadable, batch, workers):
        for video, (stages, own) in zip(entries, subject.clips(frames)):
            try:
                answered[video] = contest.answer(stages, own)
            except SegmentError as error:
                path = listing.entries[video].path
                unreadable[path] = InputError(path, error.problem, error.remedy)
    if not answered:
        first = next(iter(unreadable.values()))
        raise UsageError(subject.path, f"none of {len(clips)} videos gave an answer", f"the first: {first}")
    length, exits = subject.spec.length, len(subject.costs.exits)
    return Evaluation(
        classes=listing.classes,
        entries=[listing.entries[video] for video in answered],
        unreadable=unreadable,
        modes={mode: Answers.of([answers[mode] for answers, _ in answered.values()], length) for mode in MODES},
        fixed=np.stack([fixed for _, fixed in answered.values()]),
        fixed_macs=np.array([[subject.costs.fixed(t + 1, b) for b in range(exits)] for t in range(length)]),
    )


class ModeEvaluator:
    """All modes on one video after the other."""

    def __init__(self, subject: EvaluatedModel) -> None:
        self._subject = subject
        self._policies = policies(subject.gate, subject.spec.length, subject.thresholds)
        self._fixed = fixed_exits(subject.spec.length, subject.thresholds)

    def answer(self, stages: Stages, frames: Iterable[Any]) -> tuple[dict[str, Answer], np.ndarray]:
        """One video's answer in every mode, and the class that each fixed exit predicts, (T, B + 1).

        Args:
            frames: can be iterated more than once.

        Raises:
            SegmentError: something computed is not a number.
        """
        walks = {mode: self._walk(stages, frames, policy) for mode, policy in self._policies.items()}
        fixed = [self._walk(stages, frames, policy) for policy in self._fixed]
        walks[NONE] = fixed[-1]
        answers = {mode: self._answer(*walked) for mode, walked in walks.items()}
        answers[PLAIN] = self._plain(stages, frames)
        return answers, np.stack([probabilities.argmax(1) for _, probabilities in fixed], 1)

    def _walk(self, stages: Stages, frames: Iterable[Any], policy: ExitPolicy) -> tuple[list[Step], np.ndarray]:
        """The steps, and the class probabilities of each."""
        steps, logits = [], []
        for step in exit_steps(stages, frames, policy):
            steps.append(step)
            # Now: the next steps use the same buffers.
            logits.append(self._subject.logits(step.values) / policy.thresholds.temperature[step.exit])
        return steps, softmax(np.stack(logits))

    def _answer(self, steps: list[Step], probabilities: np.ndarray) -> Answer:
        layers = tuple(steps[i].exit for i in frame_ends(steps))
        return Answer(probabilities[-1], steps[-1].frame, steps[-1].exit, layers, self._subject.costs.spent(steps))

    def _plain(self, stages: Stages, frames: Iterable[Any]) -> Answer:
        """The backbone alone, frame by frame."""
        subject, tail, logits = self._subject, len(self._fixed) - 1, []
        stages.begin()
        for frame in frames:
            x = stages.load(frame)
            for b in range(tail + 1):
                x = stages.split(b, x)
            logits.append(subject.logits(stages.exit(tail, x, None, frame=0, gated=False)))
        mean = softmax(np.stack(logits)).mean(0)
        if not np.isfinite(mean).all():
            raise SegmentError("segment head", NOT_A_NUMBER.format("mean", len(logits) - 1, tail), "check the input")
        return Answer(mean, len(logits) - 1, tail, (tail,) * len(logits), subject.costs.plain(len(logits)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Class probabilities along the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def fitted(listing: Listing, own: list[str], path: str | Path) -> Listing:
    """The listing with a model's own classes: matched by name where both have names, of which the listing may have
    fewer; else by number.

    Args:
        path: of the model, for the error.

    Raises:
        UsageError: another number of classes, or names that the model does not have.
    """
    given = listing.classes
    named = are_names(own) and are_names(given)
    unknown = [name for name in given if name not in own] if named else []
    if unknown:
        problem = f"has no class '{unknown[0]}' as the videos have, but for instance '{own[0]}'"
        raise UsageError(path, problem, OTHER_MODEL)
    if not named and len(own) != len(given):
        raise UsageError(path, f"has {len(own)} classes, the videos have {len(given)}", OTHER_MODEL)
    if not named or own == given:
        return replace(listing, classes=own if are_names(own) else given)
    numbers = [own.index(name) for name in given]
    entries = [replace(entry, labels=tuple(sorted(numbers[i] for i in entry.labels))) for entry in listing.entries]
    return replace(listing, entries=entries, classes=own)
