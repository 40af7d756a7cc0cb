"""Metrics against numbers made by hand."""

import numpy as np
import pytest

from tlee.reports.metrics import confusion, correct, mean_average_precision, targets_of, top_accuracy, wilson


def test_any_label_of_a_video_is_right():
    targets = targets_of([(0,), (1, 2), (2,)], 3)
    assert correct(np.array([0, 2, 1]), targets).tolist() == [True, True, False]
    tables = np.array([[[0, 1]], [[1, 2]], [[0, 2]]])  # (N, T, exits)
    assert correct(tables, targets).tolist() == [[[True, False]], [[True, True]], [[False, True]]]


def test_top_k_needs_one_label_among_the_k_most_probable():
    targets = targets_of([(0,), (3,), (1, 2)], 4)
    probabilities = np.array([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4], [0.5, 0.3, 0.1, 0.1]])
    assert top_accuracy(probabilities, targets, 1) == pytest.approx(1 / 3)
    assert top_accuracy(probabilities, targets, 2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("classes", [3, 5])
def test_top_5_of_five_classes_says_nothing(classes):
    assert top_accuracy(np.ones((2, classes)), np.ones((2, classes), bool), 5) is None


def test_mean_average_precision_of_several_labels():
    targets = targets_of([(0,), (0, 1), (1,), (0,)], 3)
    probabilities = np.array([[0.9, 0.1, 0.0], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    # Class 0, by rank: right, wrong, right, right. Class 1: wrong, right, right. Class 2 does not occur.
    first = (1 / 1 + 2 / 3 + 3 / 4) / 3
    second = (1 / 2 + 2 / 3) / 2
    assert mean_average_precision(probabilities, targets) == pytest.approx((first + second) / 2)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(962, 1000, 0.9483, 0.9722), (0, 20, 0.0, 0.1611), (20, 20, 0.8389, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilsons_interval(right, total, low, high):
    assert wilson(right / total, total) == pytest.approx((low, high), abs=1e-4)


def test_confusion_counts_by_a_videos_first_label():
    counts = confusion(np.array([1, 1, 0]), [(1,), (0, 1), (0,)], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
