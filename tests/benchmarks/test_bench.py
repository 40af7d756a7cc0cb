"""A measurement from beginning to end, in a small setting: what it reports hangs together."""

import copy

import pytest
from conftest import write_clip

from tlee.benchmarks import cold
from tlee.benchmarks.bench import Bench, Plan
from tlee.benchmarks.measure import rotated
from tlee.benchmarks.profile import profile
from tlee.benchmarks.report import load_report, save_report
from tlee.benchmarks.terminal import lines, marks
from tlee.benchmarks.videos import find_videos, synthetic_videos
from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.errors import UsageError
from tlee.modes import EARLY, LAYER, NONE, PLAIN, RANDOM
from tlee.runtime.backends import BackendConfig

SHORT = Plan([EARLY, NONE], [None], rounds=4, block=0.02, cold=0, sustained=0.05, power="none")


@pytest.fixture
def run(bundle, clips, tmp_path):
    """Measures, and checks what every report must hold."""

    def measure(plan=SHORT, videos=None, exit_graphs=FUSED, **changes):
        videos = videos or find_videos([str(clips)], bundle.labels)
        bench = Bench(bundle, BackendConfig("cpu", exit_graphs), videos, plan._replace(**changes), lambda text: None)
        report = bench.run()
        save_report(str(tmp_path / "report.json"), report)
        assert load_report(str(tmp_path / "report.json")) == report
        assert lines(report)
        return report

    return measure


@pytest.fixture(scope="module")
def measured(small_bundle, tmp_path_factory):
    """The report of two videos by `SHORT`."""
    folder, bundle = tmp_path_factory.mktemp("clips"), Bundle.open(small_bundle)
    for label, frames in (("jump", 9), ("walk", 14)):
        (folder / label).mkdir()
        write_clip(folder / label / f"{label}.mp4", frames)
    return Bench(
        bundle, BackendConfig("cpu"), find_videos([str(folder)], bundle.labels), SHORT, lambda text: None
    ).run()


@pytest.fixture
def report(measured):
    """For this test to change."""
    return copy.deepcopy(measured)


def test_modes_take_turns_and_every_run_is_kept(run):
    report = run(modes=[EARLY, RANDOM, NONE], rounds=6)
    blocks = [(block["start"], block["end"], mode["name"]) for mode in report["modes"] for block in mode["blocks"]]
    order = [name for _, _, name in sorted(blocks)]
    assert all(sorted(order[i : i + 3]) == sorted([EARLY, RANDOM, NONE]) for i in range(0, 18, 3))
    assert len({tuple(order[i : i + 3]) for i in range(0, 18, 3)}) == 6  # each order once
    assert all(a[1] <= b[0] for a, b in zip(sorted(blocks), sorted(blocks)[1:]))
    for mode in report["modes"]:
        for block in mode["blocks"]:
            assert block["video"] == [0, 1] * (len(block["video"]) // 2)  # whole passes
            assert sum(block["milliseconds"]) / 1000 <= block["end"] - block["start"]
        runs = sum(len(block["video"]) for block in mode["blocks"])
        assert mode["latency"]["runs"] == runs - mode["warm_up"]["runs"]


def test_exits_and_answers_are_of_one_pass(report):
    none = {mode["name"]: mode for mode in report["modes"]}[NONE]
    assert none["exits"] == [[0, 0, 2]] * 4
    assert none["answers"]["of"] == "videos" and none["answers"]["accuracy"] in (0, 0.5, 1)
    assert (none["answers"]["share"], none["answers"]["frames"]) == (1, 4)
    assert none["rate"]["frames"] == pytest.approx(4 * none["rate"]["videos"])
    assert sum(none["parts"].values()) == pytest.approx(none["latency"]["mean"]["value"], rel=0.5)


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
def test_every_graph_of_the_chain_is_measured_for_itself(run, report, bundle, exit_graphs):
    report = run(exit_graphs=exit_graphs) if exit_graphs == SEPARATE else report
    assert [graph["name"] for graph in report["graphs"]] == [*bundle.chain(exit_graphs), "frame"]
    assert all(len(graph["milliseconds"]) == 4 and graph["latency"]["runs"] > 4 for graph in report["graphs"])
    costs = profile(report)
    assert set(costs["graphs"]) == {graph["name"] for graph in report["graphs"]}
    assert costs["graphs"]["split1"]["macs"] == bundle.graph("split1").macs


def test_energy_is_power_times_time(run, five_watts):
    report = run(power="auto")
    power = report["power"]
    assert (power["source"], power["total"]) == ("rapl", "a made-up board")
    assert power["idle"]["watts"] == pytest.approx(5)
    for mode in report["modes"]:
        energy = mode["energy"]
        assert energy["watts"] == pytest.approx(5)
        spent = [5000 * (block["end"] - block["start"]) / len(block["video"]) for block in mode["blocks"]]
        assert energy["blocks"] == pytest.approx(spent)
        assert energy["gross"]["value"] == pytest.approx(sum(spent) / len(spent))
        assert energy["net"]["value"] == pytest.approx(0, abs=1e-6)  # at rest it took the same
        assert energy["per_frame"]["gross"] < energy["gross"]["value"]
    for graph in report["graphs"]:
        assert graph["energy"]["gross"] > 5 * graph["latency"]["mean"]["value"] > 0
    assert profile(report)["graphs"]["split0"]["millijoules"] == report["graphs"][0]["energy"]["gross"]


def test_what_tuning_found_is_the_accuracy_of_early_exits_alone(bundle, clips):
    thresholds = bundle.manifest["exit_rule"]["thresholds"]
    points = {"fast": {"thresholds": thresholds, "measured": {"top1": 0.9}}}
    bundle.manifest["exit_rule"]["operating_points"] = points
    unlabelled = [video._replace(label=None) for video in find_videos([str(clips)], bundle.labels)]
    plan = SHORT._replace(modes=[EARLY, LAYER, NONE], points=["fast"], rounds=1, sustained=0.0)
    report = Bench(bundle, BackendConfig("cpu"), unlabelled, plan, lambda text: None).run()
    found = [(mode["answers"]["accuracy"], mode["answers"]["of"]) for mode in report["modes"]]
    assert found == [(0.9, "tuning"), (None, None), (None, None)]


def test_without_power_all_else_is_measured(report):
    assert report["power"]["source"] == "none" and not any(mode["energy"] for mode in report["modes"])
    assert "millijoules" not in profile(report)["graphs"]["split0"]
    assert any(line == "power: not measured (no power source was asked for)" for line in lines(report))


def test_the_plain_backbone_takes_its_turns(run, bundle, tmp_path, small_checkpoint):
    from conftest import small_model

    from tlee.export.exporter import export_bundle
    from tlee.export.plain import plain

    bare = export_bundle(plain(small_model()), tmp_path / "plain.tlee", small_checkpoint, verified=False)
    report = run(plain=bare, rounds=2)
    assert [mode["name"] for mode in report["modes"]] == [EARLY, NONE, PLAIN]
    assert report["modes"][2]["exits"] == [[2]] * 4 and len(report["modes"][2]["blocks"]) == 2


def test_noise_is_measured_without_exits(run, bundle):
    report = run(modes=[EARLY, RANDOM, NONE], videos=synthetic_videos(bundle), cold=2, rounds=2)
    assert [mode["name"] for mode in report["modes"]] == [RANDOM, NONE]
    assert report["load"]["synthetic"] and report["cold"] is None
    assert "frame" not in [graph["name"] for graph in report["graphs"]]


def test_an_interrupted_measurement_reports_what_it_has(bundle, clips):
    heard = []

    def tell(text):
        heard.append(text)
        if text == "round 2 of 4: " + NONE:
            raise KeyboardInterrupt

    bench = Bench(bundle, BackendConfig("cpu"), find_videos([str(clips)], bundle.labels), SHORT, tell)
    report = bench.run()
    assert bench.interrupted and report["graphs"] == [] and report["sustained"] is None
    assert {mode["name"]: len(mode["blocks"]) for mode in report["modes"]} == {EARLY: 1, NONE: 1}
    with pytest.raises(UsageError, match="the graphs were not measured"):
        profile(report)


def test_one_interrupted_before_anything_was_measured_reports_nothing(bundle, clips):
    def tell(text):
        if text.startswith("round"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Bench(bundle, BackendConfig("cpu"), find_videos([str(clips)], bundle.labels), SHORT, tell).run()


def test_new_processes_are_timed_from_their_start(bundle, clips):
    (run,) = cold.measure(bundle.path, str(clips / "walk" / "walk.mp4"), {"backend": "cpu"}, 1)
    assert run["total"] == pytest.approx(run["start"] + run["load"] + run["first"])
    assert all(value > 1 for value in run.values())
    with pytest.raises(
        UsageError, match="^cold start: .*none.mp4: no such file or folder; check the path; or leave it out"
    ):
        cold.measure(bundle.path, str(clips / "none.mp4"), {"backend": "cpu"}, 1)


def test_no_mode_always_follows_the_same_other():
    orders = [rotated(range(4), i) for i in range(8)]
    assert len({tuple(order) for order in orders}) == 8
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3)}
    assert sorted(order[0] for order in orders) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_what_makes_a_measurement_worth_less_is_said(report):
    report["environment"]["others"] = 0.7
    report["power"]["throttled"] = ["3.2 s: over current"]
    report["modes"][0]["warm_up"]["steady"] = False
    assert marks(report) == [
        "throttled at 3.2 s: over current",
        f"{EARLY} never settled, nothing was left out as warm-up",
        "other programs kept 0.7 cores busy",
    ]


def test_a_boards_engines_are_measured_by_its_own_clock(nano, load, clips):
    load("8.2", "nano", milliseconds=5)  # that an engine takes
    bundle = Bundle.open(str(nano))
    videos = find_videos([str(clips)], bundle.labels)
    plan = SHORT._replace(modes=[EARLY, NONE], rounds=2, sustained=0.0)
    report = Bench(bundle, BackendConfig("auto"), videos, plan, lambda text: None).run()
    assert report["environment"]["backend"].startswith("TensorRT 8.2.1")
    assert report["environment"]["precision"] == "fp16"  # as the engines were built, whatever ONNX Runtime would run
    assert all(mode["overlapped"] for mode in report["modes"])
    assert [graph["name"] for graph in report["graphs"]] == [*bundle.chain(), "frame"]
    assert all(graph["latency"]["median"]["value"] >= 5 for graph in report["graphs"][:-1])
    assert profile(report)["graphs"]["exit1"]["milliseconds"] >= 5
