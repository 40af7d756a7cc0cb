"""All that the exit rule may read in a video under any thresholds: a tree of the states that it can be in.

An exit's answer depends on where earlier frames left, since features are reused. So a *state* is a frame together with
the exits that all frames before it left at, and the exit where it leaves itself leads to the next state. There are
(B + 1)^t states in frame t; recorded are those that some of many reference policies reach. Where a simulated policy
goes where none of these went, the most similar state stands in, marked as not `known`.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tlee.calibration.thresholds.policies import Policies, uniform
from tlee.errors import CANNOT_WRITE, SegmentError, UsageError
from tlee.evaluation.replay import RepeatingChain
from tlee.inference import NOT_A_NUMBER, check_probabilities
from tlee.policy import decide_arrays
from tlee.reports.metrics import targets_of

CHUNK = 10_000  # states whose logits are in memory at once


@dataclass(frozen=True)
class Trace:
    """N videos' trees, S states in all, E exits in each."""

    root: np.ndarray  # (N,) int32, each video's state in its first frame
    child: np.ndarray  # (S, E) int32, the next frame's state after leaving at an exit; 0 in a video's last frame
    known: np.ndarray  # (S, E) bool, whether that state was recorded, and is no stand-in
    confidence: np.ndarray  # (S, E) float32, at the exits' temperatures
    score: np.ndarray  # (S, E) float32 of the gate, NaN where the rule does not read it
    right: np.ndarray  # (S, E) bool, whether the class named is the video's

    def select(self, videos: np.ndarray | Sequence[int]) -> Trace:
        """The trees of some videos; states are shared."""
        return replace(self, root=self.root[videos])


class Recording:
    """Recorded trees with all logits, so that temperatures can be fitted afterwards."""

    def __init__(self, exits: int, classes: int) -> None:
        self._shape = exits, classes
        self._roots: list[int] = []
        self._labels: list[tuple[int, ...]] = []
        self._parts: list[tuple[np.ndarray, ...]] = []  # of each video child, known, score
        self._count = 0
        # Of logits: with many classes too many for memory. Closed with the recording.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def __len__(self) -> int:
        """How many videos."""
        return len(self._roots)

    def add(self, tree: Tree, labels: tuple[int, ...]) -> None:
        """Add a video and the classes it has. Raises UsageError: the disk for temporary files is full."""
        content = np.stack(tree.logits).astype(np.float32).tobytes()
        try:
            if self._file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            remedy = "make room there, or set TMPDIR to a folder that has some"
            raise UsageError(tempfile.gettempdir(), CANNOT_WRITE.format(error.strerror), remedy) from None
        self._roots.append(self._count)
        self._labels.append(labels)
        self._count += len(tree.logits)
        self._parts.append((np.array(tree.child), np.array(tree.known), np.array(tree.score, np.float32)))

    def logits(self) -> np.ndarray:
        """(S, E, K) float32, on disk."""
        return np.memmap(self._file, np.float32, "r", shape=(self._count, *self._shape))

    def labels(self) -> np.ndarray:
        """(S, K) bool: the classes of each state's video."""
        return self._of_states(targets_of(self._labels, self._shape[1]))

    def _of_states(self, values: Any) -> np.ndarray:
        """For each state the value of its video."""
        return np.repeat(values, np.diff([*self._roots, self._count]), 0)

    def trace(self, temperature: np.ndarray) -> Trace:
        """The trees, confidences at (E,) temperatures."""
        logits, labels = self.logits(), self.labels()
        parts = [logits[start : start + CHUNK] for start in range(0, len(logits), CHUNK)]
        predicted = np.concatenate([part.argmax(2) for part in parts])
        sure = np.concatenate([confidences(part, temperature).astype(np.float32) for part in parts])
        child, known, score = (np.concatenate(parts) for parts in zip(*self._parts))
        first = self._of_states(self._roots)[:, None]
        return Trace(
            np.array(self._roots, np.int32),
            (child + first * (child > 0)).astype(np.int32),
            known,
            sure,
            score,
            np.take_along_axis(labels, predicted, 1),
        )


@dataclass
class Tree:
    """One video's states, the first of them its first frame's: see `Trace`. `logits` (E, K) of each."""

    logits: list[np.ndarray] = field(default_factory=list)
    score: list[list[float]] = field(default_factory=list)
    child: list[list[int]] = field(default_factory=list)
    known: list[list[bool]] = field(default_factory=list)


def record(chain: RepeatingChain, clip: np.ndarray, references: Policies, frames: int, exits: int) -> Tree:
    """The tree of one video, (T, H, W, 3), with all states that the references go through.

    Raises:
        SegmentError: a logit is not a number, or a score not between 0 and 1.
    """
    recorder = _Recorder(chain, clip, Policies.joined([uniform(exits), references]), frames, exits)
    recorder.grow(0, (None, chain.first_state()), np.arange(len(recorder.policies)))
    recorder.fill(0, 0)
    return recorder.tree


class _Recorder:
    def __init__(self, chain: RepeatingChain, clip: np.ndarray, policies: Policies, frames: int, exits: int) -> None:
        self.chain, self.clip, self.policies = chain, chain.frames_of(clip), policies
        self.frames, self.exits, self.tree = frames, exits, Tree()
        self._uniform: dict[tuple[int, int], int] = {}  # by frame and exit, the state where all left there so far

    def grow(self, t: int, before: tuple[Any, Any], members: np.ndarray) -> int:
        """Record a state and all those that the policies `members`, which reach it, lead to. Returns its number."""
        state, afters = self._visit(t, before)
        self._uniform.update({(t, int(m)): state for m in members if m < self.exits})
        if t == self.frames - 1:
            return state
        tree, policies = self.tree, self.policies
        for b in range(self.exits):
            first, layer, gate, temperature = (values[members, b] for values in vars(policies).values())
            confidence = confidences(tree.logits[state][b], temperature)
            answer = confidence, tree.score[state][b]
            video_done, frame_done = decide_arrays(t, self.frames, b, self.exits, *answer, first, layer, gate)
            if (frame_done & ~video_done).any():
                tree.child[state][b] = self.grow(t + 1, afters[b], members[frame_done & ~video_done])
                tree.known[state][b] = True
            members = members[~frame_done]
        return state

    def _visit(self, t: int, before: tuple[Any, Any]) -> tuple[int, list[tuple[Any, Any]]]:
        """Evaluate all exits of a frame; returns the state's number, and z and the splits' state behind each exit."""
        chain, tree, (previous, state) = self.chain, self.tree, before
        chain.resume(state)
        logits, scores, afters = [], [], []
        x = chain.load(self.clip[t])
        for b in range(self.exits):
            x = chain.split(b, x)
            values = chain.exit(b, x, previous, frame=t, gated=0 < t < self.frames - 1)
            logits.append(chain.array(values.logits)[0])
            scores.append(np.nan if values.score is None else values.score)
            check_probabilities(values, t, b)
            if not np.isfinite(logits[b]).all():
                raise SegmentError("segment head", NOT_A_NUMBER.format("confidence", t, b), "check the input")
            previous = chain.kept(values.z)
            afters.append((previous, chain.state()))
        tree.logits.append(np.stack(logits))
        tree.score.append(scores)
        tree.child.append([0] * self.exits)
        tree.known.append([False] * self.exits)
        return len(tree.logits) - 1, afters

    def fill(self, state: int, t: int) -> None:
        """Stand-ins for the children of exits where no policy left: the child of the nearest exit where one did, else
        the state where all frames left at this exit."""
        if t == self.frames - 1:
            return
        child = self.tree.child[state]
        recorded = [b for b in range(self.exits) if self.tree.known[state][b]]
        for b in recorded:
            self.fill(child[b], t + 1)
        for b in set(range(self.exits)) - set(recorded):
            nearest = min(recorded, key=lambda other: (abs(other - b), -other), default=None)
            child[b] = self._uniform[t + 1, b] if nearest is None else child[nearest]


def confidences(logits: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """The largest class probability, float64: of logits (..., K) with a temperature each, or (K,) at several ones."""
    below = logits - logits.max(-1, keepdims=True)
    return 1 / np.exp(below / np.asarray(temperature)[..., None]).sum(-1)
