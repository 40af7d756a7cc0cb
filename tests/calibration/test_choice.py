"""Operating points of few videos: what they promise holds on others, what is cheap and good enough is found."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tlee.benchmarks.development.promises import FRAMES, draws, made_up
from tlee.calibration.thresholds.choice import discordant, folds_of, halves_of, levels, loss_bound, videos_needed
from tlee.calibration.thresholds.points import DROPS
from tlee.calibration.thresholds.rules import simple_rules
from tlee.calibration.thresholds.simulate import VideoOutcomes
from tlee.policy import NEVER, Action, ExitPolicy

TIMES = 20
NAMES = ["one frame does", "depth counts", "frames count"]


@pytest.fixture(scope="module", params=NAMES)
def tuned(request):
    """By the name of a population, each operating point of TIMES tunings on sixty of its videos."""
    population = made_up(request.param, videos=1000)
    return request.param, population, draws(population, 60, TIMES)


def test_points_lose_no_more_than_they_promise(tuned):
    _, _, found = tuned
    kept = [point.loss <= point.bound for points in found for point in points]
    assert np.mean(kept) >= 0.9  # of so few draws; `benchmarks/development/promises.py` makes more


def test_sixty_videos_do_little_harm(tuned):
    _, _, found = tuned
    for points, aim in zip(zip(*found), DROPS.values()):
        assert np.mean([point.loss for point in points]) < aim + 3


def test_where_one_frame_does_sixty_videos_find_that_it_does():
    found = draws(made_up("one frame does", videos=1000), 60, TIMES)
    balanced = [points[1] for points in found]
    assert np.mean([p.loss for p in balanced]) < 1 and np.mean([p.cost for p in balanced]) < 0.25


def test_no_choice_is_worse_than_a_fixed_exit_that_thresholds_express(tuned):
    _, (each, full), _ = tuned
    rules = simple_rules(np.ones(4))
    seen = VideoOutcomes(each.right[:, :60], each.cost[:, :60])
    found = levels(seen, full[:60], folds_of(60, len(rules), 0), np.arange(len(rules)))
    accuracy, cost = seen.right.mean(1), seen.cost.mean(1)
    always = ((rules.first == -1) | (rules.gate == -1)).sum(1) == 1
    for fixed in np.flatnonzero(always):
        assert not ((accuracy[fixed] > accuracy[found.place]) & (cost[fixed] <= cost[found.place])).any()


def test_levels_fall_in_cost_and_rise_in_loss(tuned):
    _, (each, full), _ = tuned
    seen = VideoOutcomes(each.right[:, :100], each.cost[:, :100])
    found = levels(seen, full[:100], folds_of(100, len(each.right), 0), np.arange(len(each.right)))
    assert (np.diff(found.cost) <= 1e-9).all() and (np.diff(found.loss) >= -1e-9).all()
    assert (found.bound >= 100 * (found.lost - found.won) / 100).all()


def test_every_video_is_as_often_in_a_fold():
    for videos in (20, 63):
        counts = np.bincount(np.concatenate([fold.videos for fold in folds_of(videos, 5, 0)]), minlength=videos)
        assert (counts == counts[0]).all()


def test_a_half_is_answered_by_what_was_searched_on_the_other():
    (first, second), (of_first, of_second) = halves_of(21, [4, 2, 3], seed=0)
    assert sorted([*first, *second]) == list(range(21))
    assert of_first.videos is second and of_first.candidates.tolist() == [0, 1, 2, 3, 4, 5]
    assert of_second.videos is first and of_second.candidates.tolist() == [0, 1, 2, 3, 6, 7, 8]


@pytest.mark.parametrize(("lost", "videos"), [(0, 60), (3, 60), (10, 500)])
def test_a_loss_that_nothing_makes_up_for_has_the_exact_bound(lost, videos):
    wanted = binomtest(lost, videos, alternative="less").proportion_ci(0.95).high
    assert loss_bound(lost, 0, videos) == pytest.approx(100 * wanted, rel=0.03)


def test_what_is_won_makes_up_for_what_is_lost():
    assert loss_bound(5, 5, 100) < loss_bound(5, 0, 100) and loss_bound(0, 10, 100) < 0
    assert loss_bound(5, 5, 1000) < loss_bound(5, 5, 100)


def test_a_small_promise_takes_many_videos():
    assert videos_needed(0, 0, 60, 3) == 99 and videos_needed(0, 0, 60, 0.25) == 1197
    assert videos_needed(3, 3, 60, 1) > videos_needed(1, 1, 60, 1) > 299


def test_discordant_videos_are_those_that_one_alone_has_right():
    full, right = np.array([1, 1, 0, 0, 1], bool), np.array([1, 0, 1, 0, 0], bool)
    assert discordant(full, right) == (2, 1)


def end_of(policy):
    """Where a video stops whose answers are neither sure nor unsure."""
    frame, exit = 0, 0
    while True:
        decision = policy.decide(frame, exit, confidence=0.4, score=0.3 if frame else None)
        if decision.action is Action.VIDEO_DONE:
            return frame, exit
        frame, exit = (frame, exit + 1) if decision.action is Action.CONTINUE else (frame + 1, 0)


def test_fixed_exits_of_one_and_two_frames_are_among_the_simple_rules():
    rules = simple_rules(np.ones(3))
    fixed = np.flatnonzero(((rules.first == -1) | (rules.gate == -1)).sum(1) == 1)
    ends = {end_of(ExitPolicy(FRAMES, rules.thresholds(i))) for i in fixed}
    assert ends == {(t, b) for t in (0, 1) for b in range(3)}


def test_a_rule_of_one_exit_needs_no_other():
    rules = simple_rules(np.array([1.0, 2.0]))
    assert (rules.temperature == [1, 2]).all()
    closed = (rules.first[:, 0] >= NEVER) & (rules.layer[:, 0] >= NEVER) & (rules.gate[:, 0] >= NEVER)
    assert 50 < closed.sum() < len(rules)
