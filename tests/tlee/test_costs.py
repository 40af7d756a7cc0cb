"""What a video costs, by hand."""

import pytest

from tlee.costs import Costs, frame_ends
from tlee.inference import ExitValues, Step
from tlee.policy import GO_ON

MACS = {"split0": 1000, "split1": 300, "split2": 200, "branch0": 50, "branch1": 40, "tail": 30}
SHARED = {"neck": 9, "frm": 5, "head": 7, "gate": 3}


def steps(*where, score=None):
    return [Step(frame, exit, ExitValues(None, None, 0.5, score), GO_ON) for frame, exit in where]


def test_an_exit_counts_with_all_that_it_shares():
    costs = Costs({**MACS, **SHARED})
    assert costs.splits == [1000, 300, 200] and costs.exits == [71, 61, 51] and costs.gate == 3


def test_parts_that_a_model_has_not_cost_nothing():
    costs = Costs({**MACS, "head": 7})
    assert costs.exits == [57, 47, 37] and costs.gate == 0 and costs.plain(2) == costs.full(2)


def test_fixed_exits_and_the_plain_backbone():
    costs = Costs({**MACS, **SHARED})
    assert costs.fixed(1, 0) == 1071
    assert costs.fixed(3, 1) == 3 * (1300 + 61)
    assert costs.full(4) == costs.fixed(4, 2) == 4 * (1500 + 51)
    assert costs.plain(4) == 4 * (1500 + 30 + 9 + 7)  # no FRM


@pytest.mark.parametrize(
    ("where", "score", "spent"),
    [
        ([(0, 0)], None, 1000 + 71),
        ([(0, 0), (0, 1)], None, 1300 + 71 + 61),  # a split runs once, whichever exits follow
        ([(0, 0), (1, 0), (1, 1), (1, 2)], None, 1000 + 1500 + 2 * 71 + 61 + 51),
        ([(0, 2), (1, 2)], None, 2 * (1500 + 51)),  # exits that were not evaluated
        ([(1, 0), (1, 1)], 0.2, 1300 + 71 + 61 + 2 * 3),  # the gate, where it was read
    ],
)
def test_a_video_costs_what_ran(where, score, spent):
    assert Costs({**MACS, **SHARED}).spent(steps(*where, score=score)) == spent


def test_a_frame_ends_with_its_last_step():
    assert frame_ends(steps((0, 0), (0, 1), (1, 0), (2, 0), (2, 1))) == [1, 2, 4]
    assert frame_ends([]) == []
