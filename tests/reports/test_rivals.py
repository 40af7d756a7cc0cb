"""Early exits and what they have to beat, on the same videos, in words that say what so few videos can tell."""

import numpy as np
import pytest

from tlee.modes import EARLY, NONE, ONE, THREE, rival_frames
from tlee.reports.metrics import paired
from tlee.reports.rivals import against_rivals, rival_lines


def hits(right, videos=63):
    return np.arange(videos) < right


def lines(early, one, videos=63, cost=0.6):
    found = against_rivals({EARLY: hits(early, videos), ONE: hits(one, videos)}, {EARLY: 10 * cost, ONE: 10.0})
    return rival_lines(found, videos)


def test_a_difference_that_few_videos_cannot_tell_is_called_so():
    (line,) = lines(41, 40)
    assert line.startswith("early exits: 1.6 points above one frame (95 % interval -3.")
    assert line.endswith(" points: cannot be told apart on 63 videos), at 0.60 times its computation")


def test_a_difference_that_holds_is_said_without_reserve():
    (line,) = lines(30, 50, cost=2)
    assert line.startswith("early exits: 31.7 points below one frame (95 % interval -4")
    assert "cannot be told" not in line and line.endswith(" points), at 2.00 times its computation")


def test_equal_accuracy_is_no_difference_of_zero_points():
    assert lines(40, 40)[0].startswith("early exits: as often right as one frame (")


def test_every_rival_that_was_measured_has_a_line():
    rows = dict.fromkeys((EARLY, ONE, THREE, NONE), hits(40))
    found = against_rivals(rows, dict.fromkeys(rows, 1.0))
    assert list(found) == [ONE, THREE, NONE]
    assert [line.partition(" (95")[0] for line in rival_lines(found, 63, name="early exits (fast)")] == [
        f"early exits (fast): as often right as {rival}" for rival in (ONE, THREE, NONE)
    ]


def test_videos_that_only_one_of_them_gets_right_are_counted():
    found = paired(np.array([True, True, False, True]), np.array([True, False, True, False]))
    assert (found["only_first"], found["only_second"], found["difference"]) == (2, 1, 0.25)


@pytest.mark.parametrize(
    ("videos", "both", "first", "second"), [(20, 0.5, 0.2, 0.1), (63, 0.5, 0.1, 0.05), (63, 0.9, 0.02, 0.02)]
)
def test_the_interval_holds_the_true_difference(videos, both, first, second):
    draw, held = np.random.default_rng(0), 0
    for _ in range(1000):
        kind = draw.choice(4, videos, p=[both, first, second, 1 - both - first - second])
        low, high = paired(kind <= 1, (kind == 0) | (kind == 2))["interval"]
        held += low <= first - second <= high
    assert held >= 940


def test_rivals_are_fewer_where_videos_have_few_frames():
    assert rival_frames(10) == {ONE: 1, THREE: 3, NONE: 10}
    assert rival_frames(2) == {ONE: 1, NONE: 2} and rival_frames(1) == {NONE: 1}
