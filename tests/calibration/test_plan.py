"""Plans keep what is sensitive out of INT8 and no more; with nothing in INT8 nothing changes."""

import numpy as np
import onnx
import pytest
from conftest import SMALL, enliven, small_model
from scipy.special import softmax

from tlee.activations import Activations
from tlee.bundle import Bundle
from tlee.calibration.int8 import calibrate as int8
from tlee.calibration.int8 import segment
from tlee.calibration.int8.calibrate import FP32, INT8, PLAN, Settings, calibrate
from tlee.calibration.int8.compare import (
    Configuration,
    answer_videos,
    drop_interval,
    expected_agreement,
    margins_and_changes,
)
from tlee.calibration.int8.plan import PlannedBackend, PlannedChains, Targets, find_plan
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.calibration.int8.segment import PreparedSegment, prepare
from tlee.calibration.videos import VideoReader, divide
from tlee.export.exporter import export_bundle
from tlee.modes import EARLY, NONE
from tlee.policy import exit_policy
from tlee.reports.metrics import share_of
from tlee.runtime.backend import Backend
from tlee.runtime.onnx_backend import OnnxBackend

LAYERS = {"stem": 10, "deep": 20, "wide": 40, "last": 80}  # and their work
SEGMENTS = {
    name: PreparedSegment(name, b"", {}, {}, {layer: noise for layer in LAYERS}, LAYERS, 1, 1)
    for name, noise in (("a", 0.1), ("b", 0.2))
}


def made_up(fine):
    """Measures plans of `SEGMENTS` that change all the more the more layers run in INT8, and hold where `fine` says so
    of what does; notes how many plans it was asked for."""
    everything = {(name, layer) for name in SEGMENTS for layer in LAYERS}
    damage = {(name, layer): {"a": 0.001, "b": 0.01}[name] for name, layer in everything}
    asked = []

    def compare(plans):
        asked.append(len(plans))
        found = {}
        for floats in plans:
            int8 = everything - floats
            change = sum(damage[place] for place in int8)
            good = fine(int8)
            found[floats] = {
                "change": change,
                "expected_agreement": 1 if good else 0,
                "label_agreement_interval": [0.9, 1],
                "top1_drop_interval": [-0.1, 0.1],
            }
        return found

    return compare, asked


def test_if_everything_holds_in_int8_nothing_is_kept():
    compare, asked = made_up(lambda int8: True)
    plan = find_plan(SEGMENTS, compare, Targets())
    assert plan.floats == [] and plan.excluded == [] and plan.layers == {} and plan.planned is plan.whole
    assert asked == [3] and list(plan.alone) == ["b", "a"]


@pytest.mark.parametrize("needed", range(1, 9))
def test_as_few_layers_as_it_takes_are_kept_those_first_that_change_most_for_their_work(needed):
    # Of `b`, which changes most, the smallest first.
    order = [(name, layer) for name in ("b", "a") for layer in sorted(LAYERS, key=LAYERS.__getitem__)]
    compare, asked = made_up(lambda int8: not int8.intersection(order[:needed]))
    plan = find_plan(SEGMENTS, compare, Targets())
    assert plan.floats == order[:needed] and sum(asked) <= 3 + 3 * 3
    assert plan.excluded == ["b"][: needed >= 4] + ["a"][: needed >= 8]
    assert (plan.planned is None) == (needed == 8)


def test_layers_kept_of_segments_that_have_others_in_int8():
    compare, _ = made_up(lambda int8: not {("b", "stem"), ("b", "deep")} & int8)
    assert find_plan(SEGMENTS, compare, Targets()).layers == {"b": ["stem", "deep"]}


def found(agreement, videos, lost=0, gained=0, expected=1.0):
    """What is measured where so many labels of so many videos stayed."""
    drop = {"top1_drop": (lost - gained) / videos, "top1_drop_interval": drop_interval(lost, gained, videos)}
    return {**share_of("label_agreement", np.arange(videos) < agreement), **drop, "expected_agreement": expected}


def test_a_plan_holds_by_its_estimate_unless_counts_tell_otherwise():
    targets = Targets(0.99, 0.005)
    assert targets.hold(found(29, 30, lost=1)) and not targets.held(found(29, 30, lost=1))
    assert not targets.hold(found(29, 30, expected=0.98))
    assert not targets.hold(found(26, 30))
    assert not targets.hold(found(950, 1000, lost=40))


def test_the_verdict_is_of_the_intervals():
    targets = Targets(0.99, 0.005)
    assert targets.verdict(found(30, 30)) == "undecided"
    assert targets.verdict(found(2999, 3000, lost=1)) == "met"
    assert targets.verdict(found(2900, 3000, lost=1)) == "missed"
    assert targets.verdict(found(2999, 3000, lost=60)) == "missed"


def test_segments_run_where_the_plan_says():
    class Named(Backend):
        def __init__(self, name):
            self.name = name

        def run(self, segment, *inputs, rows=1):
            return [(self.name, segment, inputs)]

    planned = PlannedBackend(Named("fp32"), {"split0": Named("int8")})
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
    samples = {name: [inputs for inputs, _ in Activations(bundle).of(name)] for name in ("split0", "split1")}
    segments = {name: prepare(name, bundle.read(name), own, 4, "minmax") for name, own in samples.items()}
    chains = PlannedChains(bundle, OnnxBackend(bundle, threads=1), segments, threads=1)
    everything = [(name, layer) for name, own in segments.items() for layer in own.macs]
    plans = {"fp32": everything, "none": everything[::-1], "all": []}
    configurations = {
        name: Configuration(
            chains.chain(floats),
            exit_policy("gm", bundle.frames.length, bundle.thresholds()),
            chains.int8_macs(floats),
        )
        for name, floats in plans.items()
    }
    found = answer_videos(bundle, configurations, "tuning", VideoReader(bundle.frames).tuning(parts.tuning, ""), {})
    same = found.compare("none", "fp32")
    assert same["label_agreement"] == same["exit_agreement"] == 1 and same["total_variation"] == 0
    assert same["lost"] == same["gained"] == same["top1_drop"] == 0
    assert same["exit_histogram"] == found.compare("fp32", "fp32")["exit_histogram"]
    assert np.sum(same["exit_histogram"]) == 24
    assert same["int8_share"] == same["change"] == 0 and same["expected_agreement"] == 1
    assert found.compare("all", "fp32")["total_variation"] > 0
    assert 0.5 < found.compare("all", "fp32")["int8_share"] < 1


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


def test_of_a_ruined_segment_layers_are_kept(bundle, parts, monkeypatch):
    def outputs(model):
        return [value.name for value in onnx.load_from_string(model).graph.output]

    def ranges(model, samples, method):
        found = tensor_ranges(model, samples, method)
        return {name: value / 500 for name, value in found.items()} if outputs(model) == ["x1"] else found

    monkeypatch.setattr(segment, "tensor_ranges", ranges)
    settings = Settings(samples=20, threads=1, targets=Targets(0.75, 1))
    calibration = calibrate(bundle, parts, VideoReader(bundle.frames), settings)
    assert next(iter(calibration.plan.alone)) == "split1"
    assert "split1" in {name for name, _ in calibration.plan.floats}
    targets = settings.targets
    assert not targets.hold(calibration.plan.whole) and targets.hold(calibration.plan.planned)
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


def test_labels_are_expected_to_stay_where_margins_are_larger_than_changes():
    changes = np.array([0.1, -0.3, 0.2, -0.1])
    assert expected_agreement(np.array([0.5, 0.4]), changes) == 1
    assert expected_agreement(np.array([0.15, 0.5]), changes) == 1 - (2 / 4) / 2 / 2
    assert expected_agreement(np.zeros(3), changes) == 0.5


def test_margins_and_changes_are_the_same_at_any_scale_of_logits():
    logits = np.array([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])
    moved = logits + [[0.0, 0.5, 0.0], [0.0, 0.0, 0.2]]
    found = [margins_and_changes(softmax(s * logits, 1), softmax(s * moved, 1)) for s in (1, 5)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-9)
    margins, changes = found[0]
    scale = logits.std(1)
    np.testing.assert_allclose(margins[:, 0], [1 / scale[0], 2 / scale[1]])
    np.testing.assert_allclose(changes[:, 0], [-0.5 / scale[0], -0.2 / scale[1]], atol=1e-12)
