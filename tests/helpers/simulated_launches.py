"""Simulated launches of a program: run times whose truth is known, as restless as those of real machines."""

import math

import numpy as np
from scipy import signal

LENGTHS = np.array([2.0, 3.0, 3.5, 5.0, 8.0, 12.0])  # milliseconds of the videos


def drift(rng, count, memory, deviation):
    """A stationary AR(1) series around 0."""
    steps, start = rng.normal(0, deviation, count), rng.normal(0, deviation)
    return signal.lfilter([math.sqrt(1 - memory**2)], [1, -memory], steps, zi=[memory * start])[0]


def noise(rng, count):
    """Factors of the runs of a block: log-normal noise, drift, two clocks that take turns, rare spikes."""
    clock = np.cumsum(rng.random_sample(count) < 0.05) + rng.randint(3)
    spikes = np.where(rng.random_sample(count) < 0.01, rng.uniform(2, 10, count), 1.0)
    scatter = rng.normal(0, 0.05, count) + drift(rng, count, 0.9, 0.015)
    return np.exp(scatter) * np.where(clock % 3 == 0, 1.04, 1.0) * spikes


def launch(rng, rounds=10, shape=np.ones_like):
    """Blocks of (milliseconds, videos) of one launch, which drifts from block to block as well.

    Args:
        shape: what runs take, by their number, as a factor.
    """
    state, blocks, done = drift(rng, rounds, 0.4, 0.01), [], 0
    for r in range(rounds):
        count = len(LENGTHS) * rng.randint(8, 34)
        level = np.exp(state[r]) * shape(done + np.arange(float(count)))
        videos = np.arange(count) % len(LENGTHS)
        blocks.append((LENGTHS[videos] * noise(rng, count) * level, videos))
        done += count
    return blocks


def times(blocks):
    return [milliseconds for milliseconds, _ in blocks]
