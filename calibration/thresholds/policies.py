"""Many settings of the exit rule as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from tlee.policy import NEVER, Thresholds

CERTAIN = 12.0  # log-odds from which a threshold is NEVER: beyond, float32 confidences are mostly rounding
# Spans of log-odds for drawn policies: from 2 %, which confidences of many classes may not exceed, to 99.99 %.
FIRST, LAYER, GATE = (-4.0, 9.0), (-4.0, 9.0), (-4.0, 6.0)


@dataclass(frozen=True)
class Policies:
    """P settings for E exits, each field (P, E) float64: see `tlee.policy.Thresholds`."""

    first: np.ndarray
    layer: np.ndarray
    gate: np.ndarray
    temperature: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def select(self, chosen: np.ndarray | Sequence[int]) -> Policies:
        return Policies(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def thresholds(self, index: int) -> Thresholds:
        return Thresholds(*(getattr(self, field.name)[index].tolist() for field in fields(self)))

    @classmethod
    def joined(cls, several: Sequence[Policies]) -> Policies:
        return cls(*(np.concatenate([getattr(one, field.name) for one in several]) for field in fields(cls)))

    @classmethod
    def of(cls, several: Sequence[Thresholds]) -> Policies:
        return cls(*(np.array(values, np.float64) for values in zip(*several)))


def from_log_odds(log_odds: np.ndarray, temperature: np.ndarray) -> Policies:
    """Policies from log-odds (P, 3, E) of the thresholds for first, layer and gate, all with one (E,) temperature."""
    values = np.where(log_odds < CERTAIN, np.round(1 / (1 + np.exp(-log_odds)), 7), NEVER)
    return Policies(values[:, 0], values[:, 1], values[:, 2], np.tile(temperature, (len(log_odds), 1)))


def draw_log_odds(rng: np.random.Generator, count: int, exits: int) -> np.ndarray:
    """(count, 3, exits) log-odds of random thresholds: similar for all exits of a policy, a few of them NEVER."""
    centres = np.stack([rng.uniform(*span, count) for span in (FIRST, LAYER, GATE)], 1)
    log_odds = centres[:, :, None] + rng.normal(size=(count, 3, exits))
    return np.where(rng.random(log_odds.shape) < 0.05, CERTAIN, log_odds)


def uniform(exits: int) -> Policies:
    """For each exit the policy that lets every frame leave there."""
    never, ones = np.full((exits, exits), NEVER), np.ones((exits, exits))
    return Policies(never, np.where(np.eye(exits, dtype=bool), -1.0, NEVER), never, ones)
