"""Numbers from class probabilities. A video may have several labels; naming any of them is right.

N videos, K classes; `targets` is (N, K) bool, true where a video has the class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, confusion_matrix

DIGITS = 6  # of the numbers in a report


def rounded(values: Any) -> Any:
    """Numbers as plain values without the noise of the last digits."""
    return np.round(np.asarray(values, np.float64), DIGITS).tolist()


def targets_of(labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """Class numbers of every video as `targets`.

    Examples:
        >>> targets_of([(0,), (1, 2)], 3).astype(int).tolist()
        [[1, 0, 0], [0, 1, 1]]
    """
    targets = np.zeros((len(labels), classes), bool)
    for row, own in zip(targets, labels):
        row[list(own)] = True
    return targets


def correct(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Which predictions, (N, ...) class numbers, are among their video's labels: bool of the same shape."""
    videos = np.arange(len(targets)).reshape(-1, *[1] * (predicted.ndim - 1))
    return targets[videos, predicted]


def top_accuracy(probabilities: np.ndarray, targets: np.ndarray, k: int) -> float | None:
    """Share of videos with a label among their `k` most probable classes, None where any answer would be right."""
    if k >= targets.shape[1]:
        return None
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float(correct(best, targets).any(1).mean())


def mean_average_precision(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """Mean over the classes that occur of the average precision, videos ranked by the class's probability."""
    present = np.flatnonzero(targets.any(0))
    return float(np.mean([average_precision_score(targets[:, c], probabilities[:, c]) for c in present]))


def wilson(share: float, total: int) -> tuple[float, float]:
    """95 % interval of a probability of which `share` was seen in `total` trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples:
        >>> [round(bound, 3) for bound in wilson(0.9, 10)]
        [0.596, 0.982]
    """
    found = binomtest(round(share * total), total).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def confusion(predicted: np.ndarray, labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """(K, K) numbers of videos by true class, which is the first of a video's labels, and predicted class."""
    return confusion_matrix([own[0] for own in labels], predicted, labels=np.arange(classes))


def share_of(name: str, hits: np.ndarray) -> dict[str, Any]:
    """The share of videos that are hits, (N,) bool, as `name`, and as `name`_interval its 95 % interval (Wilson)."""
    share = float(hits.mean())
    return {name: rounded(share), f"{name}_interval": rounded(wilson(share, len(hits)))}


def exit_histogram(frame: ArrayLike, exit: ArrayLike, shape: tuple[int, ...]) -> list[list[int]]:
    """Numbers of videos by the frame and the exit that answered them; `shape` is (T, B + 1)."""
    places = np.ravel_multi_index((np.asarray(frame), np.asarray(exit)), shape)
    return np.bincount(places, minlength=math.prod(shape)).reshape(shape).tolist()
