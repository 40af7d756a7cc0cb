"""Numbers from class probabilities. A video may have several labels; naming any of them is right.

N videos, K classes; `targets` is (N, K) bool, true where a video has the class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

DIGITS = 6  # of the numbers in a report
NORMAL = 1.959964  # a standard normal variable lies within this either way in 95 of 100 cases


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
    from sklearn.metrics import average_precision_score  # here: a second, that who only counts need not wait for

    present = np.flatnonzero(targets.any(0))
    return float(np.mean([average_precision_score(targets[:, c], probabilities[:, c]) for c in present]))


def wilson(share: float, total: int) -> tuple[float, float]:
    """95 % interval of a probability of which `share` was seen in `total` trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Examples:
        >>> [round(bound, 3) for bound in wilson(0.9, 10)]
        [0.596, 0.982]
    """
    seen = round(share * total) / total
    weight = NORMAL**2 / total
    middle = (seen + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (seen * (1 - seen) + weight / 4)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(predicted: np.ndarray, labels: Sequence[Sequence[int]], classes: int) -> np.ndarray:
    """(K, K) numbers of videos by true class, which is the first of a video's labels, and predicted class."""
    from sklearn.metrics import confusion_matrix  # here, as above

    return confusion_matrix([own[0] for own in labels], predicted, labels=np.arange(classes))


def share_of(name: str, hits: np.ndarray) -> dict[str, Any]:
    """The share of videos that are hits, (N,) bool, as `name`, and as `name`_interval its 95 % interval (Wilson)."""
    share = float(hits.mean())
    return {name: rounded(share), f"{name}_interval": rounded(wilson(share, len(hits)))}


def exit_histogram(frame: ArrayLike, exit: ArrayLike, shape: tuple[int, ...]) -> list[list[int]]:
    """Numbers of videos by the frame and the exit that answered them; `shape` is (T, B + 1)."""
    places = np.ravel_multi_index((np.asarray(frame), np.asarray(exit)), shape)
    return np.bincount(places, minlength=math.prod(shape)).reshape(shape).tolist()


def paired(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """How much oftener the first of two answers to the same videos is right than the second, (N,) bool each.

    Returns:
        `difference` of the two accuracies, -1 to 1, its 95 % `interval`, and how many videos `only_first` and
        `only_second` get right.

    Source of the interval, which holds for few videos, too: Bonett and Price, "Adjusted Wald confidence interval for a
    difference of binomial proportions based on paired data", 2012.

    Examples:
        >>> paired(np.array([True, True, True, False]), np.array([True, False, True, False]))["difference"]
        0.25
    """
    videos = len(first)
    only = {"only_first": int((first & ~second).sum()), "only_second": int((second & ~first).sum())}
    more, fewer = ((count + 1) / (videos + 2) for count in only.values())
    half = NORMAL * math.sqrt((more + fewer - (more - fewer) ** 2) / (videos + 2))
    bounds = max(-1.0, more - fewer - half), min(1.0, more - fewer + half)
    difference = (only["only_first"] - only["only_second"]) / videos
    return {"difference": rounded(difference), "interval": rounded(bounds), **only}
