"""A tuned front is what its policies really do; what is reported was measured on videos that had no part in it."""

import functools
import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tlee.bundle import Bundle
from tlee.calibration.thresholds import search, tune
from tlee.calibration.thresholds.baselines import Baselines, margins, published_rule, shared_rule
from tlee.calibration.thresholds.costs import metric_of
from tlee.calibration.thresholds.points import DROPS, Target, named_points
from tlee.calibration.thresholds.report import report_of, store, used_branches
from tlee.calibration.thresholds.simulate import Outcomes
from tlee.calibration.thresholds.tune import Tuner
from tlee.calibration.videos import VideoReader, divide
from tlee.costs import Costs
from tlee.data.labelled.listing import read_listing
from tlee.data.labelled.loader import ClipDataset
from tlee.errors import SegmentError, UsageError
from tlee.evaluation.evaluate import evaluate
from tlee.evaluation.evaluated import EvaluatedBundle
from tlee.evaluation.replay import replaying_chain
from tlee.export.bundle_writer import amend_bundle
from tlee.inference import exit_steps
from tlee.info import describe
from tlee.modes import RANDOM
from tlee.policy import NEVER, ExitPolicy, Thresholds
from tlee.reports.thresholds_page import baseline_rows, point_rows, sentences, simulation_text
from tlee.runtime import Recognizer
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

DATA = {"source": "videos", "format": "folders", "split": "val", "held_out": None, "seed": 0, "share": 0.5}
MODELS = {"gm-max": {}, "none-none": {"gate": "none", "frm": "none"}, "shift": {"backbone": "mobilenetv2_tsm"}}
NO_EXIT = ExitPolicy(4, Thresholds.of(3, NEVER, NEVER, NEVER), frame_exit=False, only=2)
FULL = {name: getattr(search, name) for name in ("GENERATIONS", "OFFSPRING", "START")}
pytestmark = pytest.mark.usefixtures("short_search")


class Run:
    """A bundle tuned on the answered videos."""

    def __init__(self, bundle, listing, target=None, precision="fp32"):
        self.bundle, self.parts = bundle, divide(listing, None, bundle.labels, bundle.path)
        self.tuner = Tuner(bundle, VideoReader(bundle.frames), precision, threads=1)
        self.metric = metric_of(bundle, None, None)
        self.traced = self.tuner.record(self.parts, 0, DATA)
        self.tuning = self.tuner.tune(self.traced, self.metric, target or Target(), 0)
        self.report = report_of(self.tuner, self.tuning, self.metric)


@pytest.fixture(scope="module")
def listing(answered_videos):
    return read_listing("folders", answered_videos)


@pytest.fixture(scope="module")
def tuned(lively_bundle, listing):
    """Tunes the model of these parts, once."""

    @functools.cache
    def run(name):
        return Run(lively_bundle(**MODELS[name]), listing, Target(min_accuracy=20.0) if name == "gm-max" else None)

    return run


@pytest.fixture(params=["gm-max", *(pytest.param(name, marks=pytest.mark.full) for name in ("none-none", "shift"))])
def run(request, tuned):
    return tuned(request.param)


@pytest.fixture
def plain_run(tuned):
    return tuned("gm-max")


def frames_of(part, bundle):
    clips = ClipDataset(part, bundle.frames)
    return [clips[(0, i)].frames.numpy() for i in range(len(clips))]


def walked(bundle, part, policy, precision="fp32"):
    """Accuracy, mean cost and mean frames of the plain chain on a part's videos."""
    chain, rows = Chain(bundle, OnnxBackend(bundle, threads=1, precision=precision)), []
    costs = Costs({name: segment.macs for name, segment in bundle.segments.items()})
    for entry, clip in zip(part.entries, frames_of(part, bundle)):
        steps = list(exit_steps(chain, clip, policy))
        predicted = bundle.labels[chain.array(steps[-1].values.logits)[0].argmax()]
        rows.append((predicted == entry.path.parent.name, costs.spent(steps), steps[-1].frame + 1))
    return np.mean(rows, 0)


def test_what_the_front_did_is_what_the_plain_chain_does(run):
    tuning, places = run.tuning, np.linspace(0, len(run.tuning.front) - 1, 4).astype(int)
    for outcomes, part in ((tuning.run, run.parts.tuning), (tuning.held_out.front, run.parts.held_out)):
        for i in places:
            wanted = walked(run.bundle, part, ExitPolicy(4, tuning.front.thresholds(i)))
            assert [values[i] for values in outcomes[:3]] == pytest.approx(wanted, abs=1e-9)
        assert not outcomes.unrecorded.any()


def test_what_fewer_thresholds_did_is_what_the_plain_chain_does(plain_run):
    held = plain_run.tuning.held_out
    for outcomes, rule in ((held.published, published_rule(3)), (held.shared, shared_rule(3))):
        assert len(outcomes.cost) == len(rule) and not outcomes.unrecorded.any()
        for i in np.linspace(0, len(rule) - 1, 5).astype(int) - [0, 3, 3, 3, 0]:
            wanted = walked(plain_run.bundle, plain_run.parts.held_out, ExitPolicy(4, rule.thresholds(i)))
            assert [values[i] for values in outcomes[:3]] == pytest.approx(wanted, abs=1e-9)


def test_operating_points_do_in_the_plain_runtime_what_the_front_says(run):
    tuning, held = run.tuning, run.tuning.held_out
    for name, place in tuning.points.items():
        results = held.results[name]
        right = [result.class_index in entry.labels for result, entry in zip(results, held.entries, strict=True)]
        found = (np.mean(right), np.mean([r.macs for r in results]), np.mean([len(r.frames) for r in results]))
        assert found == pytest.approx([values[place] for values in held.front[:3]], abs=1e-9)
        assert run.report["points"][name]["run_error"] == {"top1": 0, "mean_frames": 0}
    assert "plain runtime on the held-out videos: the same" in simulation_text(run.report)


def test_the_front_is_where_the_search_believed_it(run):
    tuning = run.tuning
    assert (abs(tuning.run.accuracy - tuning.simulated.accuracy) <= tuning.simulated.unrecorded + 1e-12).all()
    assert run.report["simulation"]["within_bound"]
    assert len(tuning.front) > 5 and (np.diff(tuning.simulated.cost) > 0).all()
    assert (np.diff(tuning.simulated.accuracy) > 0).all()


def test_with_few_states_recorded_guesses_stay_within_their_bound(lively_bundle, listing, monkeypatch):
    monkeypatch.setattr(tune, "MANY", 0)
    for name, size in FULL.items():  # so many policies find where a guess was too good
        monkeypatch.setattr(search, name, size)
    monkeypatch.setattr(tune, "REFERENCES", 0)
    run = Run(lively_bundle(), listing)
    simulated, real = run.tuning.simulated, run.tuning.run
    assert simulated.unrecorded.any() and not real.unrecorded.any()
    assert (abs(real.accuracy - simulated.accuracy) <= simulated.unrecorded + 1e-12).all()
    assert abs(real.cost - simulated.cost).any() or abs(real.accuracy - simulated.accuracy).any()
    assert run.report["simulation"]["guessed_max"] > 0 and run.report["simulation"]["within_bound"]
    assert all(point["run_error"] == {"top1": 0, "mean_frames": 0} for point in run.report["points"].values())


def test_points_are_chosen_by_what_was_run_for_tuning(plain_run):
    tuning, levels = plain_run.tuning, plain_run.tuning.levels
    wanted = named_points(tuning.full - levels.loss / 100, levels.cost, tuning.full, "MACs", Target(min_accuracy=20.0))
    assert tuning.chosen == wanted and set(wanted) == {"accurate", "balanced", "fast", "target"}
    assert tuning.points == {name: levels.place[level] for name, level in wanted.items()}
    assert levels.cost == pytest.approx(tuning.run.cost[levels.place])
    assert levels.cost[wanted["target"]] <= levels.cost[wanted["fast"]]
    no_exit = walked(plain_run.bundle, plain_run.parts.tuning, NO_EXIT)
    assert tuning.full == no_exit[0]


def test_held_out_videos_had_no_part(run):
    held = [entry.path for entry in run.tuning.held_out.entries]
    assert held == [entry.path for entry in run.parts.held_out.entries]
    assert not set(held) & {entry.path for entry in run.parts.tuning.entries}
    assert len(run.traced.trace.root) == len(run.parts.tuning.entries)
    assert not run.tuner.reader.repeated and not run.tuner.reader.unreadable


def test_tuning_does_not_depend_on_what_is_held_out(plain_run):
    parts = plain_run.parts
    fewer = replace(parts.held_out, entries=parts.held_out.entries[::-1])
    tuner = Tuner(plain_run.bundle, VideoReader(plain_run.bundle.frames), "fp32", threads=1)
    again = tuner.tune(replace(plain_run.traced, videos=parts._replace(held_out=fewer)), plain_run.metric, Target(), 0)
    assert all((a == b).all() for a, b in zip(vars(again.front).values(), vars(plain_run.tuning.front).values()))
    assert again.points.items() <= plain_run.tuning.points.items()
    assert again.held_out.front.accuracy == pytest.approx(plain_run.tuning.held_out.front.accuracy)


def test_temperatures_are_fitted_and_used(plain_run):
    traced, tuning = plain_run.traced, plain_run.tuning
    assert (tuning.front.temperature == traced.temperature).all() and (abs(traced.temperature - 1) > 0.1).all()
    before, after = traced.calibration_error
    assert after.mean() < before.mean()
    assert plain_run.report["temperature"]["values"] == traced.temperature.tolist()
    assert np.shape(plain_run.report["temperature"]["error_held_out"]) == (2, 3)


def test_a_model_of_one_frame_has_nothing_to_tune(lively_bundle, listing):
    run = Run(lively_bundle(frames=1), listing)
    assert len(run.tuning.front) == 1 and set(run.tuning.points.values()) == {0}
    assert run.report["points"]["fast"]["held_out"]["mean_frames"] == 1
    assert run.report["points"]["fast"]["held_out"]["exit_histogram"] == [[len(run.tuning.held_out.entries), 0, 0]]


def doubled(content):
    """The segment with weights of twice the size."""
    model = onnx.load_from_string(content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(tensor), tensor.name))
    return model.SerializeToString()


def test_another_precision_is_tuned_in_its_own_forms(plain_run, lively_bundle, listing, tmp_path):
    bundle = Bundle.open(shutil.copytree(plain_run.bundle.path, tmp_path / "small.tlee"))
    with amend_bundle(bundle) as writer:
        writer.add("int8/branch1.onnx", doubled(bundle.read("branch1")))  # differs, that is all
        writer.add("int8/branch1.cache", b"")
        form = {"file": "int8/branch1.onnx", "cache": "int8/branch1.cache"}
        variant = {"graphs": {"branch1": form}, "excluded": [], "made": {}}
        writer.finish({**bundle.manifest, "variants": {"int8": variant}})
    run = Run(Bundle.open(bundle.path), listing, precision="int8")
    assert run.traced.precision == "int8" and run.traced.model != plain_run.traced.model
    wanted = walked(run.bundle, run.parts.held_out, ExitPolicy(4, run.tuning.front.thresholds(-1)), "int8")
    assert [values[-1] for values in run.tuning.held_out.front[:3]] == pytest.approx(wanted)
    assert all(point["run_error"] == {"top1": 0, "mean_frames": 0} for point in run.report["points"].values())
    store(run.bundle, run.report)
    points = Bundle.open(run.bundle.path).manifest["exit_rule"]["operating_points"]
    assert {point["measured"]["precision"] for point in points.values()} == {"int8"}
    with pytest.raises(UsageError, match="the trace was recorded of another model"):
        run.tuner.tune(plain_run.traced, run.metric, Target(), 0)


def test_the_report_counts_what_was_measured(plain_run):
    held, report = plain_run.tuning.held_out, plain_run.report
    for name, point in report["points"].items():
        numbers, results = point["held_out"], held.results[name]
        assert np.sum(point["held_out"]["exit_histogram"]) == numbers["videos"] == len(held.entries)
        assert numbers["exit_histogram"][0][2] == sum((r.exit_frame, r.exit_layer) == (0, 2) for r in results)
        assert numbers["share_of_macs"] == pytest.approx(numbers["mean_macs"] / report["metric"]["full"], abs=1e-5)
        assert numbers["cost"] == pytest.approx(numbers["mean_macs"]) and numbers["unit"] == "MACs"
        assert point["tuning"]["top1"] == pytest.approx(plain_run.tuning.run.accuracy[point["front"]], abs=1e-6)
        low, high = numbers["top1_interval"]
        assert low < numbers["top1"] < high
    counts = {"tuning": len(plain_run.parts.tuning.entries), "held_out": len(held.entries)}
    assert report["data"] == {**DATA, "videos": counts, "repeated": [], "unreadable": []}
    assert report["full"]["held_out"] == pytest.approx(held.baselines.full, abs=1e-6)
    assert len(point_rows(report)) == len(report["points"]) + 4 and len(baseline_rows(report)) == 5


def test_a_promise_is_what_held_out_videos_bear_out(plain_run):
    held = plain_run.tuning.held_out
    for name, point in plain_run.report["points"].items():
        promise = point["promise"]
        right = np.array([r.class_index in e.labels for r, e in zip(held.results[name], held.entries)])
        lost = 100 * (held.baselines.without_exits.mean() - right.mean())
        assert promise["loss"] == pytest.approx(lost, abs=1e-5) and promise["bound"] > promise["loss"]
        assert promise["videos"] == len(held.entries) and promise["aim"] == {**DROPS, "target": None}[name]
    said, accurate = sentences(plain_run.report), plain_run.report["points"]["accurate"]["promise"]
    few = f"{len(held.entries)} videos are too few to promise 0.25"
    assert sum(line.startswith("accurate: at most ") and few in line for line in said) == (accurate["bound"] > 0.25)
    assert sum(line.startswith("front: ") for line in said) == 2


def test_frames_to_the_tail_are_compared_with_the_front(plain_run):
    tails = plain_run.report["tail"]
    assert [tail["frames"] for tail in tails] == [1, 3, 4]
    held = [ExitPolicy(frames, NO_EXIT.thresholds, frame_exit=False, only=2) for frames in (1, 3, 4)]
    for tail, policy in zip(tails, held):
        accuracy, cost, _ = walked(plain_run.bundle, plain_run.parts.held_out, policy)
        assert tail["top1"] == pytest.approx(accuracy, abs=1e-6) and tail["cost"] == cost


def test_branches_that_no_point_uses_are_named():
    closed, never = [0.5, NEVER, 0.5], [NEVER] * 3
    assert used_branches([{"first": closed, "layer": never, "gate": never, "temperature": [1.0] * 3}]) == [0]
    report = {"points": {}, "tail": [None], "branches": {"all": [0, 1, 2], "used": [0]}}
    (line,) = sentences(report)
    assert line.startswith("no point uses branches 1, 2: tlee-export CHECKPOINT --branches 0 -o NAME.tlee leaves them")


def test_many_videos_are_searched_half_by_half(lively_bundle, listing, monkeypatch):
    monkeypatch.setattr(tune, "MANY", 30)
    run = Run(lively_bundle(), listing)
    assert len(run.tuning.front) > 5 and run.report["simulation"]["within_bound"]
    assert (run.tuning.levels.bound >= 100 * (run.tuning.levels.lost - run.tuning.levels.won) / 32 - 1e-9).all()


@pytest.fixture
def stored(plain_run, tmp_path):
    """A copy of the bundle with the operating points in it."""
    path = shutil.copytree(plain_run.bundle.path, tmp_path / "small.tlee")
    store(Bundle.open(path), plain_run.report)
    return path


def test_operating_points_in_the_manifest_are_what_tlee_info_prints(plain_run, stored):
    bundle = Bundle.open(stored)
    bundle.verify()
    for name, place in plain_run.tuning.points.items():
        assert bundle.thresholds(name) == plain_run.tuning.front.thresholds(place)
    measured = bundle.manifest["exit_rule"]["operating_points"]["fast"]["measured"]
    assert measured["precision"] == "fp32" and measured["no_exit_top1"] == plain_run.report["full"]["held_out"]
    rows = [line.split() for line in describe(bundle)]
    assert ["operating", "point", "accuracy", "95", "%", "interval", "share", "of", "MACs"] in rows
    low, high = measured["top1_interval"]
    row = ["fast", f"{measured['top1']:.1%}", f"{low:.1%}", "to", f"{high:.1%}", f"{measured['share_of_macs']:.1%}"]
    assert row in rows


def test_a_stored_point_answers_as_it_was_measured(plain_run, stored):
    recognizer = Recognizer.load(stored, point="fast", threads=1)
    clips = frames_of(plain_run.parts.held_out, plain_run.bundle)
    given = [recognizer.recognize(clip) for clip in clips[:10]]
    wanted = plain_run.tuning.held_out.results["fast"][:10]
    assert [(r.class_index, r.confidence, r.macs) for r in given] == [
        (r.class_index, r.confidence, r.macs) for r in wanted
    ]


def test_tuning_again_replaces_its_own_points_alone(plain_run, stored):
    bundle = Bundle.open(stored)
    points = bundle.manifest["exit_rule"]["operating_points"]
    points["mine"] = points["fast"]
    (stored / "manifest.json").write_text(json.dumps(bundle.manifest))
    named = {name: point for name, point in plain_run.report["points"].items() if name != "target"}
    store(Bundle.open(stored), {**plain_run.report, "points": named})
    kept = Bundle.open(stored).manifest
    assert set(kept["exit_rule"]["operating_points"]) == {"accurate", "balanced", "fast", "mine"}
    assert kept["exit_rule"]["thresholds"] == plain_run.bundle.manifest["exit_rule"]["thresholds"]
    assert {**kept, "exit_rule": 0} == {**plain_run.bundle.manifest, "exit_rule": 0}


def test_the_published_rule_has_one_threshold_of_a_kind_and_half_as_gate():
    rule = published_rule(3)
    assert len(rule) == 32 * 32 and (rule.gate == 0.5).all() and (rule.temperature == 1).all()
    for values in (rule.first, rule.layer):
        assert (values == values[:, :1]).all() and values.max() == NEVER and len(np.unique(values)) == 32
        assert 0 < values.min() < 0.2 and 0.9999 < np.unique(values)[-2] < 1
    assert len(np.unique(np.hstack([rule.first, rule.layer]), axis=0)) == len(rule)


def test_the_shared_rule_varies_the_gate_too():
    rule = shared_rule(3)
    assert all((values == values[:, :1]).all() for values in (rule.first, rule.layer, rule.gate))
    assert len(np.unique(rule.gate)) > 8 and (rule.gate >= 0.25).all() and (rule.temperature == 1).all()


@pytest.fixture(params=[{}, pytest.param(MODELS["shift"], marks=pytest.mark.full)], ids=["gm-max", "shift"])
def contest(request, lively_bundle, listing):
    """Rivals and an evaluation of the same videos."""
    bundle = lively_bundle(**request.param)
    subject = EvaluatedBundle(bundle.path, threads=1)
    evaluation = evaluate(subject, listing)
    baselines = Baselines(replaying_chain(bundle, OnnxBackend(bundle, threads=1)), 4, 3, subject.costs)
    for entry, clip in zip(evaluation.entries, frames_of(listing, bundle)):
        baselines.add(clip, entry.labels)
    return baselines, evaluation


def test_rivals_answer_as_in_an_evaluation(contest):
    baselines, evaluation = contest
    labels = [entry.labels[0] for entry in evaluation.entries]
    assert (np.array(baselines.fixed) == (evaluation.fixed == np.array(labels)[:, None, None])).all()
    random = evaluation.modes[RANDOM]
    assert baselines.random == list(zip((random.predicted == labels).tolist(), random.macs.tolist()))
    assert baselines.full == evaluation.summary()["modes"]["no exit"]["top1"]
    points = baselines.points()
    assert points["fixed exits"][1].tolist() == evaluation.fixed_macs.ravel().tolist()
    assert points["fixed exits"][0] == pytest.approx(np.ravel(evaluation.summary()["fixed_exits"]["top1"]), abs=1e-6)
    assert points["random exit"] == (pytest.approx(np.mean(random.predicted == labels)), random.macs.mean())


def test_a_video_that_fails_counts_for_no_rival(plain_run, bar_clips, monkeypatch):
    chain = replaying_chain(plain_run.bundle, OnnxBackend(plain_run.bundle, threads=1))
    baselines = Baselines(chain, 4, 3, plain_run.metric.costs)
    baselines.add(bar_clips[0], (0,))
    answer, walks = chain.begin, []

    def begin():
        walks.append(None)
        if len(walks) == 4:  # the three fixed exits went well
            raise SegmentError("segment head", "not a number", "none")
        answer()

    monkeypatch.setattr(chain, "begin", begin)
    with pytest.raises(SegmentError):
        baselines.add(bar_clips[1], (0,))
    assert len(baselines.fixed) == len(baselines.random) == 1


FRONT = Outcomes(np.array([0.5, 0.9, 0.8]), np.array([10.0, 40.0, 20.0]), np.zeros(3), np.zeros(3))


@pytest.mark.parametrize(
    ("accuracy", "cost", "margin"),
    [
        (0.5, 10.0, 0),  # a point of the front
        (0.6, 15.0, 5),  # below the line between two of them
        (0.9, 30.0, -5),
        (0.9, 50.0, 0),  # dearer than all
        (0.1, 9.9, -np.inf),  # cheaper than all
        (0.1, 10 * (1 - 1e-12), 40),  # but for rounding
    ],
)
def test_the_front_is_above_a_rival_by_so_many_points(accuracy, cost, margin):
    given = margins(np.array([accuracy]), np.array([cost]), FRONT, full=(0.7, 60.0))
    assert given == pytest.approx([margin], abs=1e-5)


def test_the_front_ends_in_no_exit_wherever_that_costs_less():
    accuracy, cost = np.array([0.85, 0.95]), np.array([25.0, 1000.0])
    assert margins(accuracy, cost, FRONT, full=(0.95, 60.0)) == pytest.approx([100 * (0.825 - 0.85), 0], abs=1e-5)
    assert margins(accuracy, cost, FRONT, full=(0.95, 30.0)) == pytest.approx([100 * (0.875 - 0.85), 0], abs=1e-5)


def test_a_rival_cheaper_than_all_of_the_front_is_said_to_be(plain_run):
    front = Outcomes(*(values + 1e9 for values in plain_run.tuning.held_out.front))
    dear = replace(plain_run.tuning, held_out=replace(plain_run.tuning.held_out, front=front))
    report = report_of(plain_run.tuner, dear, plain_run.metric)
    assert {rival["margin"] for rival in report["baselines"].values()} == {None}
    assert [row[-1] for row in baseline_rows(report)[1:]] == ["none as cheap"] * 4


def test_a_video_that_gives_no_numbers_is_left_out(lively_bundle, listing, monkeypatch):
    bad, real, bundle = [], tune.record, lively_bundle()

    def fails_once(chain, clip, *arguments):
        if not bad or clip.tobytes() == bad[0]:
            bad[:] = [clip.tobytes()]
            raise SegmentError("segment head", "the confidence at frame 0, exit 0 is not a number", "check the input")
        return real(chain, clip, *arguments)

    monkeypatch.setattr(tune, "record", fails_once)
    run = Run(bundle, listing)
    first = run.parts.tuning.entries[0].path
    assert list(run.tuner.reader.unreadable) == [first] and "not a number" in str(run.tuner.reader.unreadable[first])
    assert len(run.traced.trace.root) == len(run.parts.tuning.entries) - 1 == run.report["data"]["videos"]["tuning"]


@pytest.mark.parametrize("part", ["tuning", "held_out"])
def test_too_few_readable_videos_are_refused(plain_run, tmp_path, part):
    tuner = Tuner(plain_run.bundle, VideoReader(plain_run.bundle.frames), "fp32", threads=1)
    parts = without(plain_run.parts, part, tmp_path, left=19)
    with pytest.raises(UsageError, match=f"{part.replace('_', '-')} videos: 19, at least 20 are needed"):
        tuner.tune(tuner.record(parts, 0, DATA), plain_run.metric, Target(), 0)


@pytest.mark.parametrize("left", [25, 0])
def test_videos_that_are_gone_since_they_were_recorded_are_refused(plain_run, tmp_path, left):
    tuner = Tuner(plain_run.bundle, VideoReader(plain_run.bundle.frames), "fp32", threads=1)
    traced = replace(plain_run.traced, videos=without(plain_run.parts, "tuning", tmp_path, left))
    with pytest.raises(UsageError, match=rf"^trace: holds \d+ videos, of which {left} can be read now; record again"):
        tuner.tune(traced, plain_run.metric, Target(), 0)


def without(parts, name, folder, left):
    """The parts, of one of which only so many videos are where they are said to be."""
    listing = getattr(parts, name)
    gone = [replace(entry, path=folder / entry.path.name) for entry in listing.entries[left:]]
    return parts._replace(**{name: replace(listing, entries=listing.entries[:left] + gone)})


def test_what_cannot_be_tuned_is_refused(plain_run, lively_bundle):
    reader = VideoReader(plain_run.bundle.frames)
    with pytest.raises(UsageError, match="its gate draws at random"):
        Tuner(lively_bundle(gate="random"), reader, "fp32", 1)
    with pytest.raises(UsageError, match="has no int8 variant"):
        Tuner(plain_run.bundle, reader, "int8", 1)
    other = lively_bundle(gate="none", frm="none")
    with pytest.raises(UsageError, match="the trace was recorded of another model or sampling; record again"):
        Tuner(other, reader, "fp32", 1).tune(plain_run.traced, metric_of(other, None, None), Target(), 0)
    with pytest.raises(UsageError, match="out of reach, the nearest point is"):
        plain_run.tuner.tune(plain_run.traced, plain_run.metric, Target(min_accuracy=99.9), 0)
