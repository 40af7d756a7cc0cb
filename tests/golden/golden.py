"""Deterministic weights and inputs behind the golden traces in this folder.

A golden trace was recorded by running the published TLEE PyTorch model (inference mode, batch 1, CPU,
float32) with the weights that `tensor` makes from each state-dict key alone, on the clip that `clip`
makes. Load the same weights into your model through the checkpoint importer, feed the same clip, and
compare step by step with the JSON file.
"""

import zlib

import numpy as np


def tensor(key, shape, logit_gain=1.0):
    """Weight for one state-dict entry: a function of its key and shape only."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    noise = rng.standard_normal(shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        value = 1.0 + 0.1 * np.abs(noise)
    elif leaf == "running_mean":
        value = 0.1 * noise
    elif leaf in ("alpha", "beta"):
        value = np.full(shape, 0.3)
    elif leaf == "bias":
        value = 0.05 * noise
    elif len(shape) == 1:  # batch-norm scale
        value = 1.0 + 0.1 * noise
    else:  # convolution or linear weight
        value = noise * np.sqrt(1.5 / np.prod(shape[1:]))
    if key.startswith("classifiers."):
        value = value * logit_gain
    return value.astype(np.float32)


def clip(frames=10, size=224, seed=0):
    """Normalised clip, shape (frames, 3, size, size), float32: smooth waves plus noise, varied per frame."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size), indexing="ij")
    out = np.empty((frames, 3, size, size), np.float32)
    for t in range(frames):
        for c in range(3):
            fy, fx, phase = rng.uniform(1, 12), rng.uniform(1, 12), rng.uniform(0, 6.28)
            wave = np.sin(fy * y + fx * x + phase)
            out[t, c] = (0.4 + 0.2 * t) * wave + 0.3 * rng.standard_normal((size, size))
    return out
