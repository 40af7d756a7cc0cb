"""A measurement from beginning to end, in a small setting: what it reports hangs together."""

import json

import cv2
import numpy as np
import pytest
from conftest import write_clip

from tlee.benchmarks import bench as bench_module
from tlee.benchmarks import timed
from tlee.benchmarks.bench import Bench, Plan
from tlee.benchmarks.blocks import rotated
from tlee.benchmarks.cold import time_cold_starts
from tlee.benchmarks.terminal import lines
from tlee.benchmarks.videos import find_videos, synthetic_videos
from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.device_profile import device_profile
from tlee.errors import InputError, UsageError
from tlee.modes import EARLY, LAYER, NONE, PLAIN, RANDOM
from tlee.reports.measurement import load
from tlee.runtime.backends import BackendConfig

SHORT = Plan([EARLY, NONE], [None], rounds=4, block=0.02, cold=0, sustained=0.05, power="none")


@pytest.fixture
def run(bundle, clips, tmp_path):
    """Measures, and checks what every report must hold."""

    def measure(plan=SHORT, videos=None, exit_graphs=FUSED, **changes):
        videos = videos or find_videos([str(clips)], bundle.labels)
        bench = Bench(bundle, BackendConfig("cpu", exit_graphs), videos, plan._replace(**changes), lambda text: None)
        report = bench.run()
        (tmp_path / "report.json").write_text(json.dumps(report))
        summary = load(str(tmp_path / "report.json"))
        assert [mode["blocks"] for mode in summary["modes"]] == [mode["blocks"] for mode in report["modes"]]
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


def test_results_are_of_one_pass(measured):
    none = {mode["name"]: mode for mode in measured["modes"]}[NONE]
    assert [result["exits"] for result in none["results"]] == [[2] * 4] * 2
    assert all(result["share"] == 1 and 0 <= result["class"] < 4 for result in none["results"])
    assert measured["load"]["labels"] == [2, 0]
    for block in none["blocks"]:
        assert block["frames"] == 4 * len(block["video"])
        assert sum(block["parts"].values()) == pytest.approx(np.mean(block["milliseconds"]), rel=0.5)


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
def test_every_graph_of_the_chain_is_measured_by_itself(run, measured, bundle, exit_graphs):
    report = run(exit_graphs=exit_graphs) if exit_graphs == SEPARATE else measured
    assert [graph["name"] for graph in report["graphs"]] == [*bundle.chain(exit_graphs), "frame"]
    runs = [[len(block["milliseconds"]) for block in graph["blocks"]] for graph in report["graphs"]]
    assert all(len(counts) == 4 and sum(counts) > 4 for counts in runs)
    costs = device_profile(report)
    assert set(costs["graphs"]) == {graph["name"] for graph in report["graphs"]}
    assert costs["graphs"]["split1"]["macs"] == bundle.graph("split1").macs


def test_energy_is_power_times_time(run, five_watts):
    report = run(power="auto")
    power = report["power"]
    assert (power["source"], power["total"]) == ("rapl", "a made-up board")
    assert power["idle"]["watts"] == pytest.approx(5)
    for measured in report["modes"] + report["graphs"]:
        for block in measured["blocks"]:
            assert block["joules"] == pytest.approx(5 * (block["end"] - block["start"]))
    split0 = report["graphs"][0]["blocks"]
    used = [1000 * block["joules"] / len(block["milliseconds"]) for block in split0]
    assert device_profile(report)["graphs"]["split0"]["millijoules"] == pytest.approx(np.mean(used))
    shown = lines(report)
    (row,) = (line for line in shown if line.startswith("split0 "))
    assert float(row.split()[-1]) == pytest.approx(np.mean(used), rel=0.01)
    assert "power: rapl, a made-up board; 5.00 W at rest" in shown


def test_what_tuning_found_is_the_accuracy_of_early_exits_alone(bundle, clips):
    thresholds = bundle.manifest["exit_rule"]["thresholds"]
    points = {"fast": {"thresholds": thresholds, "measured": {"top1": 0.9}}}
    bundle.manifest["exit_rule"]["operating_points"] = points
    unlabelled = [video._replace(label=None) for video in find_videos([str(clips)], bundle.labels)]
    plan = SHORT._replace(modes=[EARLY, LAYER, NONE], points=["fast"], rounds=1, sustained=0.0)
    report = Bench(bundle, BackendConfig("cpu"), unlabelled, plan, lambda text: None).run()
    assert report["load"]["labels"] == [None, None]
    assert [mode["tuned_accuracy"] for mode in report["modes"]] == [0.9, None, None]


def test_a_report_says_which_frames_were_read(run, bundle, measured):
    assert measured["environment"]["sampling"] == "uniform"
    plan = SHORT._replace(modes=[NONE], rounds=1, sustained=0.0)
    videos = synthetic_videos(bundle)
    other = Bench(bundle.sampled("keyframes"), BackendConfig("cpu"), videos, plan, lambda text: None).run()
    assert other["environment"]["sampling"] == "keyframes"


def test_without_power_all_else_is_measured(measured):
    assert measured["power"]["source"] == "none"
    assert all(block["joules"] is None for mode in measured["modes"] for block in mode["blocks"])
    assert "millijoules" not in device_profile(measured)["graphs"]["split0"]
    assert any(line == "power: not measured (no power source was asked for)" for line in lines(measured))


def test_the_plain_backbone_takes_its_turns(run, bundle, tmp_path, small_checkpoint):
    from conftest import small_model

    from tlee.export.exporter import export_bundle, plain

    bare = export_bundle(plain(small_model()), tmp_path / "plain.tlee", small_checkpoint, verified=False)
    report = run(plain=bare, rounds=2)
    assert [mode["name"] for mode in report["modes"]] == [EARLY, NONE, PLAIN]
    assert [result["exits"] for result in report["modes"][2]["results"]] == [[0] * 4] * 2
    assert len(report["modes"][2]["blocks"]) == 2


def test_noise_is_measured_without_exits(run, bundle):
    report = run(modes=[EARLY, RANDOM, NONE], videos=synthetic_videos(bundle), cold=2, rounds=2)
    assert [mode["name"] for mode in report["modes"]] == [RANDOM, NONE]
    assert report["load"]["synthetic"] and report["cold"] is None
    assert "frame" not in [graph["name"] for graph in report["graphs"]]


def test_an_interrupted_measurement_reports_what_it_has(bundle, clips):
    heard = []

    def on_progress(text):
        heard.append(text)
        if text == "round 2 of 4: " + NONE:
            raise KeyboardInterrupt

    bench = Bench(bundle, BackendConfig("cpu"), find_videos([str(clips)], bundle.labels), SHORT, on_progress)
    report = bench.run()
    assert bench.interrupted and report["graphs"] == [] and report["sustained"] is None
    assert {mode["name"]: len(mode["blocks"]) for mode in report["modes"]} == {EARLY: 1, NONE: 1}
    with pytest.raises(UsageError, match="the graphs were not measured"):
        device_profile(report)


def test_one_interrupted_before_anything_was_measured_reports_nothing(bundle, clips):
    def on_progress(text):
        if text.startswith("round"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Bench(bundle, BackendConfig("cpu"), find_videos([str(clips)], bundle.labels), SHORT, on_progress).run()


def test_new_processes_are_timed_from_their_start(bundle, clips):
    (run,) = time_cold_starts(bundle.path, str(clips / "walk" / "walk.mp4"), {"backend": "cpu"}, 1)
    assert run["total"] == pytest.approx(run["start"] + run["load"] + run["first"])
    assert all(value > 1 for value in run.values())
    with pytest.raises(InputError, match="^.*none.mp4: no such file or folder; check the path"):
        time_cold_starts(bundle.path, str(clips / "none.mp4"), {"backend": "cpu"}, 1)
    with pytest.raises(UsageError, match="^cold start: .*'fast'.*; or leave it out"):
        time_cold_starts(bundle.path, str(clips / "walk" / "walk.mp4"), {"backend": "cpu", "point": "fast"}, 1)


def test_the_cold_start_comes_before_any_video_is_read(bundle, clips, monkeypatch):
    events = []
    monkeypatch.setattr(bench_module, "time_cold_starts", lambda *_: events.append("cold start"))
    opened = timed.open_clip
    monkeypatch.setattr(timed, "open_clip", lambda path: events.append("opened") or opened(path))
    videos = find_videos([str(clips)], bundle.labels)
    Bench(bundle, BackendConfig("cpu"), videos, SHORT._replace(cold=1, rounds=1), events.append).run()
    assert events[:5] == ["cold start", "cold start", "loading", f"round 1 of 1: {EARLY}", "opened"]


def test_videos_that_cannot_be_read_are_left_out_whenever_that_shows(bundle, clips, tmp_path):
    (clips / "broken.mp4").write_bytes(b"no video")  # shows when it is opened
    pictures = clips / "pictures"  # shows when its last frame is read, which early exits need not do
    pictures.mkdir()
    for i in range(4):
        cv2.imwrite(str(pictures / f"{i}.png"), np.zeros((48, 64, 3), np.uint8))
    with open(pictures / "3.png", "r+b") as stream:
        stream.truncate(60)
    videos = find_videos([str(clips)], bundle.labels)
    bench = Bench(bundle, BackendConfig("cpu"), videos, SHORT._replace(cold=1, rounds=2), lambda text: None)
    report = bench.run()
    assert [error.subject for error in bench.unreadable] == [str(clips / "broken.mp4"), str(pictures / "3.png")]
    assert [name.rsplit("/", 1)[1] for name in report["load"]["videos"]] == ["jump.mp4", "walk.mp4"]
    assert all({*block["video"]} == {0, 1} for mode in report["modes"] for block in mode["blocks"])
    assert [len(mode["blocks"]) for mode in report["modes"]] == [2, 2]


def test_no_mode_always_follows_the_same_other():
    orders = [rotated(range(4), i) for i in range(8)]
    assert len({tuple(order) for order in orders}) == 8
    assert {tuple(sorted(order)) for order in orders} == {(0, 1, 2, 3)}
    assert sorted(order[0] for order in orders) == [0, 0, 1, 1, 2, 2, 3, 3]


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
    for graph in report["graphs"][:-1]:
        assert np.median(np.concatenate([block["milliseconds"] for block in graph["blocks"]])) >= 5
    assert device_profile(report)["graphs"]["exit1"]["milliseconds"] >= 5
