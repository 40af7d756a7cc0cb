"""Which of a front's policies carry a name, what a target may ask for, and what costs are counted in."""

import json

import numpy as np
import pytest

from tlee.bundle import FUSED
from tlee.calibration.thresholds.costs import MACS, MILLIJOULES, MILLISECONDS, metric_of
from tlee.calibration.thresholds.points import Target, named_points
from tlee.calibration.thresholds.simulate import frame_costs
from tlee.errors import UsageError

ACCURACY = np.array([0.50, 0.88, 0.895, 0.899, 0.91])
COST = np.array([10.0, 20.0, 30.0, 40.0, 50.0])
FULL = 0.9


def named(target=None, accuracy=ACCURACY, cost=COST, full=FULL):
    return named_points(accuracy, cost, full, "ms", target or Target())


def test_names_are_the_cheapest_that_lose_so_little():
    assert named() == {"accurate": 3, "balanced": 2, "fast": 1}  # 0.25, 1 and 3 points


def test_a_loss_that_is_just_allowed_counts():
    assert named(accuracy=np.array([0.8, 0.87, 0.89, 0.8975, 0.9])) == {"accurate": 3, "balanced": 2, "fast": 1}


def test_one_policy_can_carry_all_names():
    assert named(accuracy=ACCURACY + 0.4) == {"accurate": 0, "balanced": 0, "fast": 0}


def test_names_that_are_out_of_reach_are_the_most_accurate():
    assert named(full=0.93) == {"accurate": 4, "balanced": 4, "fast": 4}
    assert named(accuracy=ACCURACY[::-1], full=0.93) == {"accurate": 0, "balanced": 0, "fast": 0}


def test_the_cheapest_is_found_wherever_it_stands():
    order = np.array([3, 0, 4, 1, 2])  # costs that were run need not rise with those that were simulated
    assert named(accuracy=ACCURACY[order], cost=COST[order]) == {"accurate": 0, "balanced": 4, "fast": 3}


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        (Target(max_drop=2.0), 1),
        (Target(max_drop=0.0), 4),
        (Target(max_drop=-1.0), 4),  # better than without exits
        (Target(max_drop=95.0), 0),  # any accuracy will do: the cheapest
        (Target(min_accuracy=89.5), 2),
        (Target(min_accuracy=0.0), 0),
        (Target(max_cost=40.0), 3),
        (Target(max_cost=1e9), 4),
        (Target(max_drop=2.0, min_accuracy=89.6), 3),  # the stricter of both
        (Target(max_drop=0.4, min_accuracy=50.0), 3),
        (Target(min_accuracy=85.0, max_cost=30.0), 1),  # the cheapest, though a dearer one is allowed
        (Target(max_drop=0.5, min_accuracy=89.0, max_cost=30.0), 2),
    ],
)
def test_a_target_is_the_cheapest_accurate_enough_or_the_most_accurate_cheap_enough(target, chosen):
    assert named(target)["target"] == chosen


@pytest.mark.parametrize(
    ("target", "nearest"),
    [
        (Target(min_accuracy=92.0), "91.0 % at 50 ms"),  # none so accurate: the most accurate
        (Target(max_drop=-2.0), "91.0 % at 50 ms"),
        (Target(max_cost=9.0), "50.0 % at 10 ms"),  # none so cheap: the cheapest
        (Target(max_drop=1.0, max_cost=25.0), "89.5 % at 30 ms"),  # accurate ones are too dear: the cheapest of them
        (Target(min_accuracy=95.0, max_cost=25.0), "88.0 % at 20 ms"),  # none: the most accurate of the cheap
        (Target(min_accuracy=95.0, max_cost=1.0), "91.0 % at 50 ms"),  # neither: the most accurate
    ],
)
def test_what_is_out_of_reach_names_the_nearest(target, nearest):
    with pytest.raises(UsageError, match=f"^target: out of reach, the nearest point is {nearest}; .* nothing was"):
        named(target)


def test_without_a_target_there_is_no_such_point():
    assert "target" not in named()


@pytest.fixture
def bundle(lively_bundle):
    return lively_bundle()


@pytest.fixture
def profile(bundle, tmp_path):
    """Writes a profile of one millisecond and two millijoules a segment; `changes` are made to it first."""

    def write(frame=None, **changes):
        segments = {name: {"milliseconds": 1.0, "millijoules": 2.0} for name in bundle.segments}
        if frame:
            segments["frame"] = {"milliseconds": frame}
        content = {"format": 1, "device": "Jetson Nano", "graphs": segments, "clocks": "locked", **changes}
        (tmp_path / "profile.json").write_text(json.dumps(content, indent=1))
        return str(tmp_path / "profile.json")

    return write


def without(bundle, name, **rest):
    return {key: {"milliseconds": 1.0, **rest} for key in bundle.segments if key != name}


def test_without_a_profile_multiply_accumulates_count(bundle):
    metric = metric_of(bundle, None, None)
    assert (metric.unit, metric.device) == (MACS, None)
    assert metric.costs.full(4) == 4 * (bundle.manifest["exits"][-1]["backbone_macs"] + metric.costs.exits[-1])


@pytest.mark.parametrize("unit", [MILLISECONDS, MILLIJOULES])
def test_time_and_energy_need_a_profile(bundle, unit):
    with pytest.raises(UsageError, match=f"a target in {unit}: needs costs of the device; .*--profile"):
        metric_of(bundle, None, unit)


@pytest.mark.parametrize(("unit", "cost"), [(None, 1), (MILLISECONDS, 1), (MILLIJOULES, 2)])
def test_a_profile_says_what_segments_cost(bundle, profile, unit, cost):
    metric = metric_of(bundle, profile(), unit)
    assert metric.unit == (unit or MILLISECONDS) and metric.device == "Jetson Nano"
    assert metric.costs.splits == [cost] * 3 and metric.costs.exits == [3 * cost] * 3 and metric.costs.gate == cost


def test_decoding_without_an_energy_is_not_free(bundle, profile):
    with pytest.raises(UsageError, match="has no millijoules of frame"):
        metric_of(bundle, profile(frame=10.0), MILLIJOULES)


def test_decoding_counts_once_for_every_frame_that_is_used(bundle, profile):
    with_frame = metric_of(bundle, profile(frame=10.0), None).costs
    alone = metric_of(bundle, profile(), None).costs
    assert (frame_costs(with_frame, 4) == frame_costs(alone, 4) + 10).all()
    assert with_frame.full(4) == alone.full(4) + 40


def test_a_profile_of_units_says_what_exits_cost(bundle, profile):
    units = {name: {"milliseconds": 1.0, "macs": bundle.graph(name).macs} for name in bundle.chain(FUSED)}
    costs = metric_of(bundle, profile(graphs=units), None).costs
    assert costs.splits == costs.exits == [1] * 3 and costs.gate == costs.frm == 0


def test_segments_that_a_bundle_has_not_are_not_counted(lively_bundle, profile):
    path = profile()
    costs = metric_of(lively_bundle(gate="none", frm="none"), path, None).costs
    assert costs.gate == costs.frm == 0 and costs.exits == [2] * 3


def test_a_profile_that_does_not_fit_is_refused_in_one_line(bundle, profile):
    cases = [
        ({"graphs": without(bundle, "branch1")}, "no milliseconds of branch1"),
        ({"graphs": {"split0": {"milliseconds": 0}}}, "graphs.split0.milliseconds: .* greater than 0"),
        ({"graphs": {"split0": {"milliseconds": "NaN"}}}, "graphs.split0.milliseconds"),
        ({"format": 2}, "format"),
        ({"device": None}, "device"),
        ({"graphs": []}, "graphs"),
        ({"graphs": {"split0": {"milliseconds": 1.0, "macs": 7}}}, "is of another model, its split0 differs"),
    ]
    for changes, message in cases:
        path = profile(**changes)
        with pytest.raises(UsageError, match=message) as error:
            metric_of(bundle, path, None)
        assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_profile_without_energies_gives_none(bundle, profile):
    path = profile(graphs=without(bundle, None))
    assert metric_of(bundle, path, MILLISECONDS).costs.gate == 1
    with pytest.raises(UsageError, match="no millijoules of .*; measure this bundle on the device again"):
        metric_of(bundle, path, MILLIJOULES)


def test_a_profile_that_is_none_is_refused_in_one_line(bundle, tmp_path):
    (tmp_path / "bad.json").write_text('{"format": 1,\n "device": ')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("none.json", "bad.json", "list.json", "bytes.json", "."):
        with pytest.raises(UsageError) as error:
            metric_of(bundle, str(tmp_path / name), None)
        assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)
