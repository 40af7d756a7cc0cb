"""Samples of each segment's inputs while the chain answers videos: of bounded number, kept on disk."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.data.labelled.listing import Entry
from tlee.errors import InputError, writing
from tlee.evaluation.evaluate import answer_each
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy, Thresholds, exit_policy
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.chain import Chain


class Samples(Sequence[dict[str, np.ndarray]]):
    """Sets of inputs by name, float32, read from their files on access."""

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __add__(self, other: Samples) -> Samples:
        return Samples([*self._files, *other._files])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Samples(self._files[index])
        with np.load(self._files[index]) as arrays:
            return dict(arrays)


class SampleRecorder(ForwardingBackend):
    """Keeps a sample of the inputs of each segment, every set of inputs with the same probability.

    Source: Vitter, "Random sampling with a reservoir", 1985, algorithm R.

    Args:
        folder: for the samples; it is made.
        sizes: sets of inputs to keep of each segment; of those not named, none.
        seed: draws which.

    Attributes:
        given: how many sets of inputs each segment was given.

    Raises:
        UsageError: there is no room for the samples.
    """

    def __init__(self, bundle: Bundle, backend: Backend, folder: str, sizes: Mapping[str, int], seed: int = 0) -> None:
        super().__init__(backend)
        self.given: Counter[str] = Counter()
        self._inputs = {name: segment.inputs for name, segment in bundle.segments.items()}
        self._folder, self._sizes = folder, dict(sizes)
        self._random = random.Random(seed)
        os.makedirs(folder, exist_ok=True)

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> list[Any]:
        place, size = self.given[graph], self._sizes.get(graph, 0)
        self.given[graph] += 1
        if place >= size:
            place = self._random.randrange(self.given[graph])
        if place < size:
            arrays: dict[str, Any] = {name: self.array(value) for name, value in zip(self._inputs[graph], inputs)}
            with writing(self._folder, "make room for the samples"):
                np.savez(self._file(graph, place), **arrays)
        return self._backend.run(graph, *inputs, rows=rows)

    def samples(self, segment: str) -> Samples:
        """The sample of a segment's inputs so far."""
        count = min(self._sizes.get(segment, 0), self.given[segment])
        return Samples([self._file(segment, place) for place in range(count)])

    def _file(self, segment: str, place: int) -> str:
        return os.path.join(self._folder, f"{segment}.{place}.npz")


def sampling_policy(bundle: Bundle, point: str | None = None, early_exit: bool = True) -> ExitPolicy:
    """The exits that videos take while segments are sampled. Raises UsageError: no such operating point.

    Args:
        early_exit: False lets no exit be taken before the last frame, and still evaluates all of them.
    """
    thresholds, frames = bundle.thresholds(point), bundle.frames.length
    if not early_exit:
        return ExitPolicy(frames, Thresholds.never(bundle.exits, thresholds.temperature))
    return exit_policy(bundle.manifest["model"]["gate"], frames, thresholds)


def collect(
    bundle: Bundle,
    recorder: SampleRecorder,
    videos: Iterable[tuple[Entry, np.ndarray]],
    policy: ExitPolicy,
    unreadable: dict[Path, InputError],
) -> list[Entry]:
    """Run videos, (T, H, W, 3), on a recorder. Returns those that gave an answer; the others go to `unreadable`."""
    chain = Chain(bundle, recorder)
    answered = answer_each(videos, lambda _, frames: list(exit_steps(chain, frames, policy)), unreadable)
    return [entry for entry, _ in answered]
