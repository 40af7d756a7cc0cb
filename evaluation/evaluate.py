"""The answer of every mode and of every fixed exit to each of a list of videos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from scipy.special import softmax

from tlee.data.labelled.listing import Entry, Listing
from tlee.data.labelled.loader import ClipDataset, readable_batches
from tlee.errors import InputError, SegmentError, UsageError
from tlee.evaluation.evaluated import EvaluatedModel, are_names
from tlee.evaluation.results import Answer, Answers, Evaluation
from tlee.inference import NOT_A_NUMBER, Stages, Step, exit_steps
from tlee.modes import MODES, PLAIN, fixed_exits, policies, rival_frames
from tlee.policy import ExitPolicy

Video = TypeVar("Video")
Given = TypeVar("Given")
OTHER_MODEL = "give the videos it was trained for, or the model that was trained for these"


def evaluate(model: EvaluatedModel, listing: Listing, batch: int = 8, workers: int = 0) -> Evaluation:
    """Let a model answer all videos of a listing in all modes.

    Args:
        listing: labelled videos; its classes must fit the model's, see `fitted`.
        batch: videos whose frames are held at once.
        workers: processes that decode; 0 for this one.

    Raises:
        UsageError: the classes do not fit, or not one video gave an answer.

    Examples:
        >>> listing = read_listing("folders", "digits/test")  # doctest: +SKIP
        >>> evaluation = evaluate(open_model("digits.tlee"), listing)  # doctest: +SKIP
        >>> evaluation.modes["early exits"].predicted  # doctest: +SKIP
    """
    listing = fitted(listing, model.labels, model.path)
    clips, modes = ClipDataset(listing, model.spec), ModeEvaluator(model)
    unreadable: dict[Path, InputError] = {}
    batches = readable_batches(clips, unreadable, batch, workers)
    videos = (video for entries, frames in batches for video in zip(entries, model.clips(frames)))
    answered = list(answer_each(videos, lambda entry, video: modes.answer(*video), unreadable))
    if not answered:
        first = next(iter(unreadable.values()))
        raise UsageError(model.path, f"none of {len(clips)} videos gave an answer", f"the first: {first}")
    length, exits = model.spec.length, len(model.costs.exits)
    return Evaluation(
        classes=listing.classes,
        entries=[entry for entry, _ in answered],
        unreadable=unreadable,
        modes={
            mode: Answers.of([answers[mode] for _, (answers, _) in answered], length)
            for mode in MODES
            if mode in answered[0][1][0]
        },
        fixed=np.stack([fixed for _, (_, fixed) in answered]),
        fixed_macs=np.array([[model.costs.fixed(t + 1, b) for b in range(exits)] for t in range(length)]),
    )


def answer_each(
    videos: Iterable[tuple[Entry, Video]],
    answer: Callable[[Entry, Video], Given],
    unreadable: dict[Path, InputError],
) -> Iterator[tuple[Entry, Given]]:
    """What `answer` gives for each video. A video for which a value is not a number counts as unreadable."""
    for entry, video in videos:
        try:
            given = answer(entry, video)
        except (SegmentError, InputError) as error:
            unreadable[entry.path] = InputError(entry.path, error.problem, error.remedy)
        else:
            yield entry, given


class ModeEvaluator:
    """Answers one video after the other in all modes."""

    def __init__(self, model: EvaluatedModel) -> None:
        self._model = model
        self._policies = policies(model.facts["gate"], model.spec.length, model.thresholds)
        self._fixed = fixed_exits(model.spec.length, model.thresholds)
        self._rivals = rival_frames(model.spec.length)

    def answer(self, stages: Stages, frames: Iterable[Any]) -> tuple[dict[str, Answer], np.ndarray]:
        """One video's answer in every mode, and the class that each fixed exit predicts, (T, B + 1); `frames` can be
        iterated again. Raises SegmentError: something computed is not a number."""
        runs = {mode: self._run(stages, frames, policy) for mode, policy in self._policies.items()}
        fixed = [self._run(stages, frames, policy) for policy in self._fixed]
        steps, own = fixed[-1]  # one frame and three are the beginning of every frame to the tail
        runs.update({mode: (steps[:frames], own[:frames]) for mode, frames in self._rivals.items()})
        answers = {mode: Answer.of(steps, own[-1], self._model.costs) for mode, (steps, own) in runs.items()}
        answers[PLAIN] = self._plain(stages, frames)
        return answers, np.stack([probabilities.argmax(1) for _, probabilities in fixed], 1)

    def _run(self, stages: Stages, frames: Iterable[Any], policy: ExitPolicy) -> tuple[list[Step], np.ndarray]:
        """The steps, and their (steps, K) class probabilities."""
        steps, logits = [], []
        for step in exit_steps(stages, frames, policy):
            steps.append(step)
            # Now: the next steps use the same buffers.
            logits.append(self._model.logits(step.values) / policy.thresholds.temperature[step.exit])
        return steps, softmax(np.stack(logits).astype(np.float64), -1)

    def _plain(self, stages: Stages, frames: Iterable[Any]) -> Answer:
        """The backbone alone, frame by frame."""
        model, tail, logits = self._model, len(self._fixed) - 1, []
        stages.begin()
        for frame in frames:
            x = stages.load(frame)
            for b in range(tail + 1):
                x = stages.split(b, x)
            logits.append(model.logits(stages.exit(tail, x, None, frame=0, gated=False)))
        mean = softmax(np.stack(logits).astype(np.float64), -1).mean(0)
        if not np.isfinite(mean).all():
            raise SegmentError("segment head", NOT_A_NUMBER.format("mean", len(logits) - 1, tail), "check the input")
        return Answer(mean, len(logits) - 1, tail, (tail,) * len(logits), model.costs.plain(len(logits)))


def fitted(listing: Listing, own: list[str], path: str | Path) -> Listing:
    """The listing with the classes `own` of the model `path`: matched by name where both have names, of which the
    listing may have fewer; else by number.

    Raises:
        UsageError: another number of classes, or names that the model does not have.
    """
    given = listing.classes
    named = are_names(own) and are_names(given)
    if not named and len(own) != len(given):
        raise UsageError(path, f"has {len(own)} classes, the videos have {len(given)}", OTHER_MODEL)
    if not named or own == given:
        return replace(listing, classes=own if are_names(own) else given)
    for name in given:
        if name not in own:
            problem = f"has no class '{name}' as the videos have, but for instance '{own[0]}'"
            raise UsageError(path, problem, OTHER_MODEL)
    numbers = [own.index(name) for name in given]
    entries = [replace(entry, labels=tuple(sorted(numbers[i] for i in entry.labels))) for entry in listing.entries]
    return replace(listing, entries=entries, classes=own)
