"""Exits that answer no better than chance are named, good ones are not, and few videos are not blamed on an exit."""

import numpy as np
import pytest

from tlee.reports.branch_choice import branch_line, useless_branches
from tlee.reports.exit_faults import CHANCE, UNSURE, against_chance, chance_of, exit_faults
from tlee.reports.metrics import targets_of

ACTIONS = [f"action {i}" for i in range(18)]


def labels_of(videos, classes):
    return [(i % classes,) for i in range(videos)]


def answers(labels, right, classes):
    """(N,) classes: the first `right` videos' own ones, the next class for all others."""
    return np.array([own if i < right else (own + 1) % classes for i, (own,) in enumerate(labels)])


def test_good_exits_get_no_line():
    labels = labels_of(63, 18)
    predicted = np.array([answers(labels, right, 18) for right in (20, 40, 63)]).T
    assert exit_faults(predicted, labels, ACTIONS) == []


def test_an_exit_at_chance_is_told_with_its_interval():
    labels = labels_of(63, 18)
    predicted = np.array([answers(labels, 4, 18), answers(labels, 30, 18)]).T
    (line,) = exit_faults(predicted, labels, ACTIONS)
    assert line == "branch 0 answers as by chance: 6.3 % of 63 videos (chance 6.3 %, 95 % interval 2.5 to 15.2)"


def test_an_exit_that_answers_one_class_is_told_by_that_class():
    labels = labels_of(63, 18)
    one = np.full(63, 3)
    one[:2] = [own for (own,) in labels[:2]]
    lines = exit_faults(np.array([answers(labels, 63, 18), one]).T, labels, ACTIONS)
    assert lines == ["tail answers 'action 3' for 61 of 63 videos; 4 are"]


def test_two_classes_on_few_videos_are_no_fault_of_the_exits():
    labels = labels_of(10, 2)
    predicted = np.array([answers(labels, right, 2) for right in (7, 8, 10)]).T
    assert exit_faults(predicted, labels, "ab") == [
        "branch 0, branch 1: cannot be told from chance on so few videos (10, chance 50.0 %)"
    ]


def test_always_the_larger_of_two_unequal_classes_is_chance():
    labels = [(0,)] * 80 + [(1,)] * 20
    (line,) = exit_faults(np.zeros((100, 1), int), labels, "ab")
    assert line == "tail answers 'a' for 100 of 100 videos; 80 are"
    alternating = np.arange(100)[:, None] % 2
    (line,) = exit_faults(alternating, labels, "ab")
    assert line.startswith("tail answers as by chance: 50.0 % of 100 videos (chance 80.0 %, ")


def test_videos_of_one_class_tell_nothing():
    (line,) = exit_faults(np.zeros((6, 3), int), [(1,)] * 6, "ab")
    assert line == "all 6 videos are of class 'b', which tells nothing of an exit"


def test_a_video_with_several_labels_is_right_by_any_of_them():
    labels = [(0, 1), (0, 2)] * 20
    assert chance_of(targets_of(labels, 4)) == 1
    labels = [(c, (c + 1) % 18) for (c,) in labels_of(72, 18)]
    assert exit_faults(np.array([second for _, second in labels])[:, None], labels, ACTIONS) == []


@pytest.mark.parametrize(("classes", "videos", "accuracy"), [(2, 12, 0.9), (2, 40, 0.85), (5, 20, 0.6), (18, 60, 0.4)])
def test_a_useful_exit_is_hardly_ever_called_one_at_chance(classes, videos, accuracy):
    draw, labels = np.random.default_rng(0), labels_of(videos, classes)
    chance = chance_of(targets_of(labels, classes))
    verdicts = [against_chance(draw.random(videos) < accuracy, chance) for _ in range(400)]
    assert verdicts.count(CHANCE) <= 0.01 * len(verdicts)


@pytest.mark.parametrize(("classes", "videos"), [(2, 60), (5, 30), (18, 60)])
def test_an_exit_that_guesses_is_called_so(classes, videos):
    draw, labels = np.random.default_rng(0), labels_of(videos, classes)
    chance = chance_of(targets_of(labels, classes))
    verdicts = [against_chance(draw.random(videos) < 1 / classes, chance) for _ in range(400)]
    assert verdicts.count(None) <= 0.06 * len(verdicts) and verdicts.count(UNSURE) <= 0.2 * len(verdicts)


# Branches worth keeping

MACS = np.array([[1, 2, 4, 8], [2, 4, 8, 16]])  # of two frames and four exits


def hits_of(*right, videos=60):
    """(N, 2, 4) bool: of so many videos each exit gets the first ones right, on one frame as on both."""
    return np.stack([np.arange(videos)[:, None] < [count] * 2 for count in right], 2)


def layers_of(*exits, videos=60):
    """(N, 2): the exits that videos leave their first frame at, in turns; the second is not used."""
    return np.array([[exits[i % len(exits)], -1] for i in range(videos)])


def test_branches_that_are_used_and_ever_better_are_kept():
    useless = useless_branches(layers_of(0, 1, 2, 3), hits_of(30, 35, 40, 45), MACS, 0.1)
    assert useless == {} and branch_line(useless, 3) is None


def test_a_branch_that_no_video_uses_is_not():
    useless = useless_branches(layers_of(1, 2), hits_of(30, 35, 40, 45), MACS, 0.1)
    assert useless == {0: "no frame of 60 videos leaves there"}
    assert branch_line(useless, 3).endswith(
        "tlee-export CHECKPOINT -o NAME.tlee --branches 1,2, then tune and evaluate again"
    )


def test_few_videos_do_not_show_that_a_branch_is_not_used():
    hits = hits_of(10, 12, 14, 16, videos=20)
    assert useless_branches(layers_of(1, videos=20), hits, MACS, 0.1) == {}


def test_a_branch_at_chance_or_behind_a_cheaper_one_is_not_kept():
    hits = hits_of(6, 45, 20, 46)
    assert useless_branches(layers_of(0, 1, 2, 3), hits, MACS, 0.1) == {
        0: "as by chance on one frame and on all",
        2: "branch 1 is more often right and costs no more",
    }


def test_a_difference_of_a_few_videos_condemns_no_branch():
    assert useless_branches(layers_of(0, 1, 2, 3), hits_of(45, 44, 43, 46), MACS, 0.1) == {}


def test_where_no_branch_is_worth_keeping_the_line_says_so():
    line = branch_line(useless_branches(layers_of(3), hits_of(6, 6, 6, 46), MACS, 0.1), 3)
    assert line.startswith("no branch is worth keeping (branch 0: as by chance") and line.endswith("(branches: 0)")
