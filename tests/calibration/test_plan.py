"""Plans keep what is sensitive out of INT8 and no more; with nothing in INT8 nothing changes."""

import numpy as np
import onnx
import pytest
from conftest import SMALL, enliven, small_model

from tlee.bundle import Bundle
from tlee.calibration.int8 import calibrate as int8
from tlee.calibration.int8.calibrate import FP32, INT8, PLAN, Settings, calibrate
from tlee.calibration.int8.compare import Configuration, answer_videos
from tlee.calibration.int8.plan import PlannedBackend, PlannedChains, Targets, find_plan
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.calibration.videos import VideoReader, divide
from tlee.export.exporter import export_bundle
from tlee.modes import EARLY, NONE
from tlee.policy import exit_policy
from tlee.runtime.backend import Backend
from tlee.runtime.onnx_backend import OnnxBackend

NAMES = ["a", "b", "c", "d"]


def made_up(fine):
    """Measures plans of `NAMES` that change all the more the more of them run in INT8, and hold where `fine` says so;
    notes what it was asked."""
    damage = {"a": 0.01, "b": 0.02, "c": 0.04, "d": 0.08}
    asked = []

    def compare(plans):
        asked.append([sorted(kept) for kept in plans])
        changed = {kept: sum(damage[name] for name in NAMES if name not in kept) for kept in plans}
        return {
            kept: {
                "label_agreement": 1 - share,
                "total_variation": share,
                "top1_drop": 0 if fine(set(NAMES) - kept) else 0.01,
            }
            for kept, share in changed.items()
        }

    return compare, asked


def test_if_everything_holds_in_int8_nothing_is_kept():
    compare, asked = made_up(lambda int8: True)
    plan = find_plan(NAMES, compare, Targets(0.5))
    assert plan.excluded == [] and plan.planned == plan.whole and len(asked) == 1
    assert list(plan.alone) == ["d", "c", "b", "a"]


def test_the_most_sensitive_are_kept_until_the_targets_hold():
    compare, asked = made_up(lambda int8: True)
    plan = find_plan(NAMES, compare, Targets(0.96))
    assert plan.excluded == ["d", "c"]
    assert plan.planned["label_agreement"] == pytest.approx(0.97)
    assert [len(plans) for plans in asked] == [5, 2, 1]  # what is known is not measured again


def test_what_need_not_be_kept_is_taken_back():
    compare, _ = made_up(lambda int8: "b" not in int8)  # b is not very sensitive, and still the one that matters
    plan = find_plan(NAMES, compare, Targets(0.8))
    assert plan.excluded == ["b"]


def test_no_plan_holds_but_float32():
    compare, _ = made_up(lambda int8: not int8)
    plan = find_plan(NAMES, compare, Targets(0.5))
    assert sorted(plan.excluded) == NAMES and plan.planned is None


def test_targets_hold_at_their_edge():
    targets = Targets(0.99, 0.005)
    assert targets.hold({"label_agreement": 0.99, "top1_drop": 0.005})
    assert not targets.hold({"label_agreement": 0.989999, "top1_drop": 0})
    assert not targets.hold({"label_agreement": 1, "top1_drop": 0.005001})


def test_segments_run_where_the_plan_says():
    class Named(Backend):
        def __init__(self, name):
            self.name = name

        def run(self, segment, *inputs, rows=1):
            return [(self.name, segment, inputs)]

    planned = PlannedBackend(Named("fp32"), Named("int8"), {"split0"})
    assert planned.run("split0", 1) == [("int8", "split0", (1,))]
    assert planned.run("split1", 2) == [("fp32", "split1", (2,))]


@pytest.fixture(scope="module")
def bundle(bundle_of_all_exits):
    return Bundle.open(bundle_of_all_exits)


@pytest.fixture(scope="module")
def parts(labelled, bundle):
    return divide(labelled, None, bundle.labels, bundle.path)


@pytest.fixture(scope="module")
def calibration(bundle, parts):
    settings = Settings(samples=20, threads=1, targets=Targets(0, 1))
    return calibrate(bundle, parts, VideoReader(bundle.frames), settings)


def test_every_segment_with_weights_that_is_not_delicate_has_a_form(bundle, calibration):
    assert set(calibration.without) | set(calibration.graphs) == set(bundle.segments)
    delicate = dict.fromkeys(["frm", "head", "gate"], int8.STAYS_FP32)
    assert calibration.without == {**delicate, "tail": int8.NO_WEIGHTS}
    assert all(0 < form.samples <= 20 for form in calibration.graphs.values())


def test_a_plan_of_no_int8_answers_as_float32(bundle, parts, calibration):
    graphs = {name: graph.model for name, graph in calibration.graphs.items()}
    chains = PlannedChains(bundle, OnnxBackend(bundle, threads=1), graphs, threads=1)
    plans = {"fp32": calibration.graphs, "none": list(calibration.graphs), "all": []}
    configurations = {
        name: Configuration(chains.excluding(excluded), exit_policy("gm", bundle.frames.length, bundle.thresholds()))
        for name, excluded in plans.items()
    }
    found = answer_videos(bundle, configurations, "tuning", VideoReader(bundle.frames).tuning(parts.tuning, ""), {})
    same = found.compare("none", "fp32")
    assert same["label_agreement"] == same["exit_agreement"] == 1 and same["total_variation"] == 0
    assert same["lost"] == same["gained"] == same["top1_drop"] == 0
    assert same["exit_histogram"] == found.compare("fp32", "fp32")["exit_histogram"]
    assert np.sum(same["exit_histogram"]) == 24
    assert found.compare("all", "fp32")["total_variation"] > 0


def test_what_is_compared_is_what_was_answered(calibration):
    found, answers = calibration.compared(INT8, EARLY), calibration.held_out.answers
    own, other = answers[f"{INT8}, {EARLY}"], answers[f"{FP32}, {EARLY}"]
    assert found["label_agreement"] == pytest.approx((own.predicted == other.predicted).mean(), abs=1e-6)
    assert found["mean_frames"] == pytest.approx(own.frame.mean() + 1, abs=1e-6)
    low, high = found["label_agreement_interval"]
    assert low <= found["label_agreement"] <= high
    right = [label in entry.labels for label, entry in zip(own.predicted, calibration.held_out.entries)]
    assert found["top1"] == pytest.approx(np.mean(right), abs=1e-6)
    before = calibration.compared(FP32, EARLY)["top1"]
    assert found["top1_drop"] == pytest.approx(before - found["top1"], abs=2e-6)
    assert found["lost"] - found["gained"] == round(24 * found["top1_drop"])


def test_without_exits_all_videos_answer_at_the_end(calibration):
    for form in (FP32, INT8, PLAN):
        found = calibration.compared(form, NONE)
        assert found["exit_agreement"] == 1 and found["exit_histogram"][-1] == [0, 0, 24]


def test_a_ruined_segment_is_the_one_that_is_kept(bundle, parts, monkeypatch):
    ruined = bundle.read("split1")

    def ranges(model, samples, method):
        found = tensor_ranges(model, samples, method)
        return {name: value / 500 for name, value in found.items()} if model == ruined else found

    monkeypatch.setattr(int8, "tensor_ranges", ranges)
    settings = Settings(samples=20, threads=1, targets=Targets(0.75, 1))
    calibration = calibrate(bundle, parts, VideoReader(bundle.frames), settings)
    assert next(iter(calibration.plan.alone)) == "split1"
    assert calibration.plan.excluded == ["split1"]
    assert calibration.plan.whole["label_agreement"] < 0.75 <= calibration.plan.planned["label_agreement"]
    assert calibration.compared(PLAN, EARLY)["total_variation"] < calibration.compared(INT8, EARLY)["total_variation"]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({"backbone": "mobilenetv2_tsm"}, marks=pytest.mark.full),
        pytest.param({"gate": "random"}, marks=pytest.mark.full),
        pytest.param({"gate": "none", "frm": "none"}, marks=pytest.mark.full),
        pytest.param({"frm": "afrm", "neck": 64}, marks=pytest.mark.full),
        {"gate": "random", "frm": "afrm", "neck": 64},
    ],
    ids=str,
)
def test_models_of_all_parts_are_calibrated(parts, small_checkpoint, labelled, tmp_path):
    model = enliven(small_model(model={**SMALL["model"], **parts}))
    bundle = export_bundle(model, tmp_path / "other.tlee", small_checkpoint, verified=False)
    divided = divide(labelled, None, bundle.labels, bundle.path)
    settings = Settings(samples=5, threads=1, early_exit=False, targets=Targets(0, 1))
    calibration = calibrate(bundle, divided, VideoReader(bundle.frames), settings)
    weighted = {name for name, segment in bundle.segments.items() if segment.macs}
    assert set(calibration.graphs) == weighted - {"frm", "head", "gate"}
    # The tail only pools: the last fused exit is in INT8 where the neck is.
    assert set(calibration.fused_exits) == {"exit0", "exit1", *(["exit2"] if "neck" in parts else [])}
    for name, fused in calibration.fused_exits.items():
        inside = {node.name.split("/")[0] for node in onnx.load_from_string(fused.model).graph.node}
        assert set(bundle.fused_exits[name].segments) == inside
        # What goes from segment to segment is one value, whose range holds for both.
        branch = bundle.fused_exits[name].segments[0]
        between = f"{branch}/feature" if {"neck", "frm"} & set(inside) else "z"
        ranges = [calibration.graphs[part].ranges["feature"] for part in (branch, "neck") if part in calibration.graphs]
        assert fused.ranges[between] == max(ranges)
    if parts.get("gate") == "random":  # the same draws for every form
        assert calibration.compared(INT8, EARLY)["exit_agreement"] == 1
