"""Simulates many policies on recorded videos: the exit rule, state by state, without the model."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from tlee.calibration.thresholds.policies import Policies
from tlee.calibration.thresholds.trace import Trace
from tlee.costs import Costs
from tlee.policy import decide_arrays

_decide = numba.njit(decide_arrays)
BLOCK = 256  # policies that go through a video together: its tree stays in the processor's cache


class Outcomes(NamedTuple):
    """Means over the videos, each (P,) float64."""

    accuracy: np.ndarray  # share of videos answered correctly
    cost: np.ndarray
    frames: np.ndarray  # that are used
    # Share of videos that pass through a state for which the trace has only a stand-in: no other share is further off.
    unrecorded: np.ndarray


class VideoOutcomes(NamedTuple):
    """What P policies do on each of N videos."""

    right: np.ndarray  # (P, N) bool
    cost: np.ndarray  # (P, N) float32


def simulate(trace: Trace, policies: Policies, costs: np.ndarray) -> Outcomes:
    """Outcomes on the trace's videos of policies with its confidences' temperatures; `costs` as of `frame_costs`."""
    none = np.empty((0, 0), bool), np.empty((0, 0), np.float32)
    return Outcomes(*(_run(trace, policies, costs, *none) / len(trace.root)))


def simulate_each(trace: Trace, policies: Policies, costs: np.ndarray) -> VideoOutcomes:
    """The same by video."""
    shape = len(policies), len(trace.root)
    outcomes = VideoOutcomes(np.empty(shape, bool), np.empty(shape, np.float32))
    _run(trace, policies, costs, *outcomes)
    return outcomes


def _run(trace: Trace, policies: Policies, costs: np.ndarray, right: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """(4, P): sums over the videos of the fields of `Outcomes`; `right` and `cost`, unless empty, are filled."""
    tree = (trace.root, trace.child, trace.known, trace.confidence, trace.score, trace.right)

    def run(start: int) -> np.ndarray:
        part = slice(start, start + BLOCK)
        settings = policies.first[part], policies.layer[part], policies.gate[part]
        return _simulate(*tree, costs, *settings, right[part], cost[part])

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return np.concatenate(list(pool.map(run, range(0, len(policies), BLOCK))), 1)


def frame_costs(costs: Costs, frames: int) -> np.ndarray:
    """(T, E): the cost of a frame that leaves at an exit, with all exits before it, and the gate at each in all frames
    but the first and the last."""
    exits = np.cumsum(costs.splits) + np.cumsum(costs.exits)
    scores = costs.gate * np.arange(1, len(exits) + 1)
    return np.stack([exits + scores * (0 < t < frames - 1) for t in range(frames)]).astype(np.float64)


@numba.njit(nogil=True)  # not cached: numba would not notice a changed rule, which is in another file
def _simulate(root, child, known, confidence, score, right, costs, first, layer, gate, rights, spent):
    """(4, P): sums over the videos of the fields of `Outcomes`."""
    frames, exits = costs.shape
    sums = np.zeros((4, len(first)))
    for v in range(len(root)):
        for p in range(len(first)):
            state, unrecorded, cost = root[v], False, 0.0
            for t in range(frames):
                b, frame_done = -1, False
                while not frame_done:
                    b += 1
                    answer, thresholds = (confidence[state, b], score[state, b]), (first[p, b], layer[p, b], gate[p, b])
                    video_done, frame_done = _decide(t, frames, b, exits, *answer, *thresholds)
                cost += costs[t, b]
                if video_done:
                    if len(rights):
                        rights[p, v], spent[p, v] = right[state, b], cost
                    sums[0, p] += right[state, b]
                    sums[1, p] += cost
                    sums[2, p] += t + 1
                    sums[3, p] += unrecorded
                    break
                unrecorded = unrecorded or not known[state, b]
                state = child[state, b]
    return sums
