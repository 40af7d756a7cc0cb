"""Numbers drawn from answers, against an evaluation made by hand."""

import json

import numpy as np
import pytest
from helpers.evaluations import made_up

from tlee.evaluation.report import report_of, video_lines
from tlee.evaluation.results import UNUSED
from tlee.modes import EARLY, MODES, NONE, ONE, THREE

MODE_KEYS = {
    "top1",
    "top1_interval",
    "top5",
    "mean_average_precision",
    "mean_frames",
    "mean_exit_layer",
    "mean_frame_layer",
    "ran_to_last_frame",
    "mean_macs",
    "share_of_macs",
    "exit_histogram",
}


@pytest.fixture
def evaluation():
    return made_up(["a", "b", "c"], [(0,), (1,), (1, 2), (0,)])


def test_a_mode_in_numbers(evaluation):
    early = evaluation.summary()["modes"][EARLY]
    assert early == {
        "top1": 0.75,  # the last of four is wrong
        "top1_interval": pytest.approx([0.300642, 0.954413]),
        "top5": None,
        "mean_average_precision": pytest.approx((3 / 4 + 2 / 3 + 1 / 4) / 3, abs=1e-6),
        "mean_frames": 1.25,  # three of one frame, one of two
        "mean_exit_layer": 0,
        "mean_frame_layer": 0.2,  # one of five frames went to exit 1
        "ran_to_last_frame": 0.25,
        "mean_macs": 120,
        "share_of_macs": 0.3,
        "exit_histogram": [[3, 0], [1, 0]],
    }
    assert evaluation.summary()["modes"][NONE]["exit_histogram"] == [[0, 0], [0, 4]]


def test_classes_in_numbers_by_a_videos_first_label(evaluation):
    summary = evaluation.summary()
    assert summary["per_class"] == [
        {"class": "a", "videos": 2, "top1": 0.5, "top1_no_exit": 1, "mean_frames": 1.5, "share_of_macs": 0.45},
        {"class": "b", "videos": 2, "top1": 1, "top1_no_exit": 1, "mean_frames": 1, "share_of_macs": 0.15},
    ]
    assert summary["confusion"] == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert summary["several_labels"] and summary["videos"] == 4


def test_fixed_exits_in_numbers(evaluation):
    evaluation.fixed[3, 0, 0] = 2
    fixed = evaluation.summary()["fixed_exits"]
    assert fixed == {"top1": [[0.75, 1], [1, 1]], "macs": [[60, 200], [120, 400]]}


def test_early_exits_beside_what_they_have_to_beat(evaluation):
    rivals = evaluation.summary()["rivals"]
    assert list(rivals) == [ONE, NONE]
    assert (rivals[NONE]["difference"], rivals[NONE]["only_first"], rivals[NONE]["only_second"]) == (-0.25, 0, 1)
    assert rivals[NONE]["cost_ratio"] == 0.3


def test_exits_that_few_videos_cannot_tell_from_chance_and_branches_to_keep(evaluation):
    summary = evaluation.summary()
    assert summary["exit_faults"] == {"one_frame": [], "all_frames": []}
    assert summary["branches"] == {"keep": [0], "suggestion": None}
    evaluation.fixed[1:] = 0
    (line,) = evaluation.summary()["exit_faults"]["one_frame"]
    assert line.startswith("branch 0, tail: cannot be told from chance on so few videos (4, chance 50.0 %)")


def test_a_selection_is_an_evaluation_of_its_own(evaluation):
    some = evaluation.select([0, 3])
    assert some.entries == [evaluation.entries[0], evaluation.entries[3]] and some.fixed.shape == (2, 2, 2)
    summary = some.summary()
    assert summary["videos"] == 2 and summary["modes"][EARLY]["top1"] == 0.5
    assert some.modes[EARLY].layers.tolist() == [[0, UNUSED], [1, 0]]


def test_the_report_keeps_its_keys(evaluation):
    report = report_of(evaluation, {"path": "x"}, {"source": "y"})
    keys = {"format", "subject", "data", "classes", "videos", "several_labels", "unreadable", "modes", "fixed_exits"}
    keys |= {"confusion", "per_class", "rivals", "exit_faults", "branches", "tail_reached"}
    assert set(report) == keys and report["format"] == 1
    assert list(report["modes"]) == [mode for mode in MODES if mode != THREE]  # of two frames
    assert all(set(numbers) == MODE_KEYS for numbers in report["modes"].values())
    assert json.loads(json.dumps(report, allow_nan=False)) == report  # plain values only


def test_a_line_per_video(evaluation):
    lines = list(video_lines(evaluation))
    assert [(line["path"], line["labels"]) for line in lines] == [
        ("0", ["a"]),
        ("1", ["b"]),
        ("2", ["b", "c"]),
        ("3", ["a"]),
    ]
    assert lines[3]["modes"][EARLY] == {"predicted": "b", "confidence": 1, "frame": 1, "exit": 0, "macs": 300}
    assert list(lines[0]["modes"]) == [mode for mode in MODES if mode != THREE]


def test_probabilities_are_kept(evaluation):
    assert evaluation.modes[NONE].probabilities.dtype == np.float32
    assert evaluation.modes[NONE].predicted.tolist() == [0, 1, 1, 0]
