"""`tlee-calibrate`: what it writes into the bundle, what it reports, and that it writes nothing when it fails."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from conftest import write_clip
from helpers import tensorrt_rtx
from helpers.html_elements import Elements

from tlee import cli
from tlee.activations import Activations, difference
from tlee.bundle import Bundle
from tlee.calibration.int8 import calibrate as int8
from tlee.calibration.int8 import cli as calibrate_cli
from tlee.calibration.int8 import collect, segment
from tlee.calibration.int8.cache_file import read_cache
from tlee.calibration.int8.cli import PROGRAM, command
from tlee.calibration.int8.graph import Graph, macs_by_layer
from tlee.calibration.int8.plan import Targets
from tlee.calibration.int8.qdq import misplaced
from tlee.calibration.int8.ranges import METHODS
from tlee.costs import Costs
from tlee.export.bundle_writer import amend_bundle
from tlee.runtime.onnx_session import open_session

STRICT = ("--method", "entropy", "--min-agreement", "97")  # some segments are kept
LOOSE = ("--min-agreement", 0, "--max-accuracy-drop", 100)  # any plan will do: one pass less


@pytest.fixture
def tlee_calibrate(capsys):
    """Runs the command here; (status, standard output, standard error)."""

    def run(*arguments):
        common = ("--workers", 0, "--threads", 1, "--samples", 12)
        status = cli.run(PROGRAM, command, [str(argument) for argument in (*arguments, *common)])
        return status, *capsys.readouterr()

    return run


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def calibrated(bundle_of_all_exits, labelled_videos, tmp_path_factory):
    """A bundle after the command, its report, and what the command printed."""
    folder = tmp_path_factory.mktemp("calibrated")
    bundle = shutil.copytree(bundle_of_all_exits, folder / "small.tlee")
    arguments = [bundle, "--data", labelled_videos, "-o", folder / "report", "--samples", "12", *STRICT]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run(PROGRAM, command, [*map(str, arguments), "--workers", "0", "--threads", "1"])
    assert (status, err.getvalue()) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["report", "small.tlee"]
    return bundle, json.loads((folder / "report" / "report.json").read_text()), out.getvalue()


def test_the_bundle_has_forms_caches_and_a_plan(calibrated, bundle_of_all_exits):
    bundle, before = Bundle.open(calibrated[0]), Bundle.open(bundle_of_all_exits)
    bundle.verify()
    variant = bundle.manifest["variants"]["int8"]
    segments = {"split0", "split1", "split2", "branch0", "branch1"}
    fused_exits = {f"exit{b}" for b in range(2) if f"branch{b}" not in variant["excluded"]}
    assert set(variant["graphs"]) == segments | fused_exits
    assert set(variant["excluded"]) < segments
    for name in segments:
        form = (calibrated[0] / variant["graphs"][name]["file"]).read_bytes()
        assert misplaced(form, variant["made"]["layers"].get(name, [])) == []
        assert bundle.read(name, "int8") == (before.read(name) if name in variant["excluded"] else form)
        header, scales = read_cache((calibrated[0] / variant["graphs"][name]["cache"]).read_bytes())
        assert header == "TRT-8201-EntropyCalibration2"
        assert set(bundle.segments[name].inputs + bundle.segments[name].outputs) <= set(scales)
    how = variant["made"]
    assert (how["method"], how["samples"], how["seed"], how["point"]) == ("entropy", 12, 0, None)
    assert how["early_exit"] is True
    assert how["tuning_videos"] == how["held_out_videos"] == 24
    assert how["thresholds"] == bundle.thresholds().as_dict() and "onnxruntime" in how["versions"]
    assert set(how["measured"]) == {"fp32", "int8", "plan"}


def test_scales_are_of_the_ranges_in_the_report(calibrated):
    bundle, report, _ = calibrated
    _, scales = read_cache((bundle / "calibration" / "int8" / "split1.cache").read_bytes())
    ranges = report["segments"]["split1"]["ranges"]
    assert scales == {name: pytest.approx(value / 127, rel=1e-6) for name, value in ranges.items()}


def test_a_unit_is_in_int8_where_its_branch_is(calibrated):
    bundle = Bundle.open(calibrated[0])
    variant = bundle.manifest["variants"]["int8"]
    for b in range(2):
        fused, branch = f"exit{b}", f"branch{b}"
        if branch in variant["excluded"]:
            assert bundle.read(fused, "int8") == bundle.read(fused)
            continue
        form = onnx.load_from_string(bundle.read(fused, "int8"))
        # Which part each pair belongs to: none to the delicate ones.
        pairs = {node.name.split("/")[0] for node in form.graph.node if node.op_type == "QuantizeLinear"}
        assert pairs == {branch} and tensorrt_rtx.build(form.SerializeToString()) > 0
        scales, own = (read_cache(bundle.read_file(variant["graphs"][n]["cache"]))[1] for n in (fused, branch))
        named = {name if name == f"x{b}" else f"{branch}/{name}": scale for name, scale in own.items()}
        assert scales == named
        plain = onnx.load_from_string(bundle.read(fused))  # what a cache is used with
        assert set(scales) <= {name for node in plain.graph.node for name in (*node.input, *node.output)}
    assert "exit2" not in variant["graphs"]  # its tail only pools


def test_activations_are_of_the_tuning_videos_and_forms_are_as_far_from_them_as_is_said(
    calibrated, bundle_of_all_exits
):
    bundle, before = Bundle.open(calibrated[0]), Bundle.open(bundle_of_all_exits)
    assert before.manifest["activations"] == {"samples": 4, "source": "synthetic clips"}
    assert bundle.manifest["activations"] == {"samples": 4, "source": "tuning videos"}
    activations = Activations(bundle)
    for name, form in bundle.manifest["variants"]["int8"]["graphs"].items():
        session, found = open_session(bundle.read_file(form["file"]), threads=1), []
        for inputs, outputs in activations.of(name):
            got = session.run(list(outputs), inputs)
            found += [difference(key, outputs[key], value) for key, value in zip(outputs, got)]
        assert 0 < form["deviation"] == max(found)


def test_all_else_stays_as_it_was(calibrated, bundle_of_all_exits):
    bundle, before = Bundle.open(calibrated[0]), Bundle.open(bundle_of_all_exits)
    for key in set(before.manifest) - {"variants", "files", "activations"}:
        assert bundle.manifest[key] == before.manifest[key]
    exported = {name for name in before.manifest["files"] if not name.startswith("activations/")}
    assert all(bundle.manifest["files"][name] == before.manifest["files"][name] for name in exported)


def test_the_bundle_answers_in_int8(calibrated, labelled_videos):
    clip = labelled_videos / "run" / "03.mp4"
    # As a process: it shares one thread pool, which would stay for the other tests.
    tlee_run = [sys.executable, "-m", "tlee.runtime.cli", calibrated[0], clip, "--precision", "int8"]
    run = subprocess.run(tlee_run, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "") and "03.mp4" in run.stdout


def test_a_table_of_forms_and_what_was_written(calibrated):
    bundle, report, out = calibrated
    head, columns, *rows, kept, share, verdict, written = out.splitlines()
    assert head == "small: 24 held-out videos, 24 for tuning"
    assert columns.split()[:4] == ["accuracy", "95", "%", "interval"] and columns.endswith("in INT8")
    forms = [f"{form}, {exits}" for exits in ("early exits", "no exit") for form in ("float32", "INT8", "plan")]
    assert [row.split("  ")[0] for row in rows] == forms
    assert kept.startswith("kept in higher precision: ") and " of 5 segments" in kept
    assert share.startswith("in INT8: ") and share.split(";")[0].endswith(" without exits")
    assert verdict.endswith(" of the labels") and (report["plan"]["verdict"] == "missed") == ("misses" in verdict)
    assert written == f"written: {bundle}, {bundle.parent}/report/index.html"


def test_the_plan_holds_its_targets_on_the_tuning_videos(calibrated):
    _, report, _ = calibrated
    assert report["targets"] == {"label_agreement": 0.97, "top1_drop": 0.005}
    kept = [*report["plan"]["kept"], *report["plan"]["layers"]]
    assert kept and not Targets(0.97).hold(report["tuning"]["whole"])
    assert report["tuning"]["planned"] is None or Targets(0.97).hold(report["tuning"]["planned"])


def test_how_much_of_the_work_is_in_int8_is_that_of_the_graphs(calibrated):
    bundle, report, _ = calibrated
    opened, segments = Bundle.open(bundle), report["segments"]
    for name, own in segments.items():
        assert own["macs"] == opened.segments[name].macs >= own["int8_macs"]
        if own["form"] is not True or name in report["plan"]["kept"]:
            assert own["int8_macs"] == 0
            continue
        graph = Graph(onnx.load_from_string(opened.read(name, "int8")).graph)
        layers = macs_by_layer(onnx.load_from_string(opened.read(name)))
        floats = [n.name for n in graph.nodes if graph.has_weights(n) and not graph.dequantised(n.input[1])]
        assert sorted(floats) == sorted(report["plan"]["layers"].get(name, []))
        assert own["int8_macs"] == sum(macs for layer, macs in layers.items() if layer not in floats)
    forms = report["held_out"]["forms"]["no exit"]
    full = Costs({name: own["macs"] for name, own in segments.items()}).full(4)
    int8 = Costs({name: own["int8_macs"] for name, own in segments.items()}).full(4)
    assert forms["plan"]["int8_share"] == pytest.approx(int8 / full, abs=1e-6)
    assert forms["fp32"]["int8_share"] == 0 and forms["int8"]["int8_share"] >= forms["plan"]["int8_share"]
    made = opened.manifest["variants"]["int8"]["made"]
    assert made["layers"] == report["plan"]["layers"]
    assert made["int8_share_without_exits"] == forms["plan"]["int8_share"]


def test_where_int8_changes_nothing_a_line_says_so(tlee_calibrate, copied, labelled_videos, monkeypatch):
    monkeypatch.setattr(Targets, "hold", lambda targets, found: False)
    status, out, _ = tlee_calibrate(copied, "--data", labelled_videos)
    assert (
        status == 0 and "in INT8: 0.0 % of the multiply-accumulates, 0.0 % without exits: INT8 changes (almost)" in out
    )
    variant = Bundle.open(copied).manifest["variants"]["int8"]
    assert len(variant["excluded"]) == 5 and variant["made"]["layers"] == {}


def test_the_report_says_what_was_measured_where(calibrated):
    bundle, report, _ = calibrated
    assert report["format"] == 1 and report["subject"]["name"] == "small"
    assert report["data"]["share"] == 0.5 and report["data"]["held_out"] is None
    assert report["tuning"]["videos"] == report["held_out"]["videos"] == 24
    for forms in report["held_out"]["forms"].values():
        assert set(forms) == {"fp32", "int8", "plan"}
        assert all(sum(map(sum, form["exit_histogram"])) == 24 for form in forms.values())
        assert forms["fp32"]["label_agreement"] == 1
    assert set(report["tuning"]["alone"]) == {name for name, s in report["segments"].items() if s["form"] is True}
    assert report["segments"]["tail"] == {"form": "no weights", "macs": 0, "int8_macs": 0}
    assert {report["segments"][name]["form"] for name in ("head", "gate")} == {"stays in float32"}
    assert report["unreadable"] == report["repeated"] == []


def test_the_page_needs_nothing_else(calibrated):
    page = (calibrated[0].parent / "report" / "index.html").read_text()
    elements = Elements(page)
    assert elements.names.count("svg") == 3 and elements.fetched() == []
    assert "on the tuning videos, by which the plan was chosen" in " ".join(page.split())


def test_the_same_again_gives_the_same_and_another_method_replaces_it(
    tlee_calibrate, calibrated, copied, labelled_videos
):
    again = shutil.copytree(calibrated[0], copied.parent / "again.tlee")
    other = again / "variants" / "int8" / "branch9.onnx"
    with amend_bundle(Bundle.open(again)) as writer:
        writer.add("variants/int8/branch9.onnx", b"of an older calibration")
        writer.finish(Bundle.open(again).manifest)
    assert other.exists()
    assert tlee_calibrate(again, "--data", labelled_videos, *STRICT)[0] == 0
    assert contents(again) == contents(calibrated[0])
    assert tlee_calibrate(again, "--data", labelled_videos, *LOOSE)[0] == 0
    bundle = Bundle.open(again)
    bundle.verify()
    variant = bundle.manifest["variants"]["int8"]
    assert variant["made"]["method"] == "minmax" and variant["excluded"] == []
    assert {"exit0", "exit1"} < set(variant["graphs"]) and not other.exists()
    assert bundle.read("split1", "int8") != Bundle.open(calibrated[0]).read("split1", "int8")


def test_operating_points_and_other_forms_stay_and_points_give_their_exits(tlee_calibrate, copied, labelled_videos):
    bundle = Bundle.open(copied)
    fp16 = {"graphs": {"split1": {"file": "variants/fp16/split1.onnx"}}, "excluded": [], "made": {}}
    never = {**bundle.thresholds().as_dict(), "first": [2.0] * 3, "layer": [2.0] * 3, "gate": [2.0] * 3}
    point = {"thresholds": never, "measured": {"top1": 0.9, "top1_interval": [0.8, 1.0], "share_of_macs": 0.2}}
    with amend_bundle(bundle) as writer:
        rule = {**bundle.manifest["exit_rule"], "operating_points": {"thorough": point}}
        writer.add("variants/fp16/split1.onnx", bundle.read("split1"))
        writer.finish({**bundle.manifest, "exit_rule": rule, "variants": {"fp16": fp16}})
    assert tlee_calibrate(copied, "--data", labelled_videos, "--point", "thorough", *LOOSE)[0] == 0
    manifest = Bundle.open(copied).manifest
    assert manifest["exit_rule"]["operating_points"] == {"thorough": point}
    assert manifest["variants"]["fp16"] == fp16 and Bundle.open(copied).read("split1", "fp16")
    about = manifest["variants"]["int8"]["made"]
    assert about["point"] == "thorough" and about["thresholds"] == never
    assert about["measured"]["fp32"]["mean_frames"] == 4


def test_unreadable_videos_are_a_line_each_and_repeated_ones_are_counted(
    tlee_calibrate, copied, labelled_videos, tmp_path, undrawn
):
    tuning, held_out = tmp_path / "tuning", tmp_path / "held out"
    shutil.copytree(labelled_videos, tuning)
    shutil.copytree(labelled_videos, held_out, ignore=lambda folder, names: [n for n in names if n < "06.mp4"])
    for path in tuning.glob("*/*.mp4"):
        if path.name >= "08.mp4":
            path.unlink()
    (tuning / "run" / "00.mp4").write_bytes(b"no video")
    status, out, err = tlee_calibrate(
        *(copied, "--data", tuning, "--held-out", held_out, *LOOSE, "-o", tmp_path / "report")
    )
    assert status == 1 and out.startswith("small: 24 held-out videos, 23 for tuning\n")
    unreadable, repeated = err.splitlines()
    assert unreadable.startswith(f"tlee-calibrate: {tuning}/run/00.mp4: not a video")
    assert repeated.startswith("tlee-calibrate: held-out videos left out, ") and ": 6 (first: " in repeated
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert len(report["repeated"]) == 6 and [v["path"] for v in report["unreadable"]] == [f"{tuning}/run/00.mp4"]
    assert report["data"]["held_out"] == str(held_out) and report["data"]["share"] is None
    assert "Left out" in (tmp_path / "report" / "index.html").read_text()


def test_what_few_videos_reach_is_filled_up_without_exits(tlee_calibrate, copied, labelled_videos, tmp_path, undrawn):
    nobody_goes_on(copied)
    status, out, _ = tlee_calibrate(copied, "--data", labelled_videos, "-o", tmp_path / "report", *LOOSE)
    assert status == 0
    assert "seldom reached with these exits, so sampled without them, too: branch1, split1, split2" in out
    segments = json.loads((tmp_path / "report" / "report.json").read_text())["segments"]
    counts = {name: (s["given"], s["samples"], s["filled"]) for name, s in segments.items() if s["form"] is True}
    assert counts["split0"] == (24, 12, 0) and counts["split2"] == (0, 12, 12)
    assert "0 of 0 sets of inputs, 12 more without exits" in (tmp_path / "report" / "index.html").read_text()


def test_without_exits_every_segment_is_reached(tlee_calibrate, copied, labelled_videos):
    nobody_goes_on(copied)
    status, out, _ = tlee_calibrate(copied, "--data", labelled_videos, "--no-early-exit", *LOOSE)
    assert status == 0 and "seldom reached" not in out
    variant = Bundle.open(copied).manifest["variants"]["int8"]
    assert len(variant["graphs"]) == 5 + 2 and not variant["made"]["early_exit"]


def nobody_goes_on(bundle):
    opened = Bundle.open(bundle)
    thresholds = {**opened.thresholds().as_dict(), "first": [0.0] * 3}
    with amend_bundle(opened) as writer:
        writer.finish({**opened.manifest, "exit_rule": {"thresholds": thresholds, "operating_points": {}}})


def no_bundle(copied, videos, tmp_path, monkeypatch):
    return tmp_path / "none.tlee", "--data", videos


def no_videos(copied, videos, tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    return copied, "--data", tmp_path / "none"


def too_few_videos(copied, videos, tmp_path, monkeypatch):
    return copied, "--data", videos, "--share", "0.1"


def too_few_readable_videos(copied, videos, tmp_path, monkeypatch):
    shutil.copytree(videos, tmp_path / "data")
    for path in (tmp_path / "data").glob("*/0[1-9].mp4"):
        path.write_bytes(b"no video")
    return copied, "--data", tmp_path / "data"


def a_class_is_missing(copied, videos, tmp_path, monkeypatch):
    for name in ("run", "walk"):
        (tmp_path / "held out" / name).mkdir(parents=True)
        for i in range(12):
            write_clip(tmp_path / "held out" / name / f"{i}.mp4", grey=i)
    return copied, "--data", videos, "--held-out", tmp_path / "held out"


def same_video_in_both(copied, videos, tmp_path, monkeypatch):
    return copied, "--data", videos, "--held-out", videos


def same_frames_in_both(copied, videos, tmp_path, monkeypatch):
    return copied, "--data", videos, "--held-out", shutil.copytree(videos, tmp_path / "held out")


def unknown_point(copied, videos, tmp_path, monkeypatch):
    return copied, "--data", videos, "--point", "fast"


def a_report_that_exists(copied, videos, tmp_path, monkeypatch):
    (tmp_path / "report").mkdir()
    return copied, "--data", videos, "-o", tmp_path / "report"


def a_form_that_tensorrt_would_not_take(copied, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "misplaced", lambda form, floats: ["a pair stands where none should"])
    return copied, "--data", videos, "-o", tmp_path / "report"


def no_room(copied, videos, tmp_path, monkeypatch):
    def full(file, **arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collect.np, "savez", full)
    return copied, "--data", videos, "-o", tmp_path / "report"


@pytest.mark.parametrize(
    "wrong",
    [
        no_bundle,
        no_videos,
        too_few_videos,
        too_few_readable_videos,
        a_class_is_missing,
        same_video_in_both,
        same_frames_in_both,
        unknown_point,
        a_report_that_exists,
        a_form_that_tensorrt_would_not_take,
        no_room,
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(
    tlee_calibrate, copied, labelled_videos, tmp_path, monkeypatch, wrong
):
    arguments = wrong(copied, labelled_videos, tmp_path, monkeypatch)
    before, files = contents(copied), sorted(tmp_path.rglob("*"))
    status, out, err = tlee_calibrate(*arguments, *LOOSE)
    assert status == 2 and out == "" and err.count("\n") == 1, err
    assert err.startswith("tlee-calibrate: ") and "; " in err
    assert contents(copied) == before and sorted(tmp_path.rglob("*")) == files


def test_a_bundle_that_changes_meanwhile_is_left_alone(tlee_calibrate, copied, labelled_videos, tmp_path, monkeypatch):
    answer, changed = int8.answer_videos, {}

    def and_change(*arguments):
        nobody_goes_on(copied)
        changed.update(contents(copied))
        return answer(*arguments)

    monkeypatch.setattr(int8, "answer_videos", and_change)
    status, out, err = tlee_calibrate(copied, "--data", labelled_videos, "-o", tmp_path / "report", *LOOSE)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert "changed since it was opened; start again, nothing was written" in err
    assert contents(copied) == changed and not (tmp_path / "report").exists()


def test_methods_are_those_of_the_ranges():
    assert calibrate_cli.METHODS == METHODS


@pytest.mark.parametrize(
    "option",
    [
        ("--method", "best"),
        ("--samples", "0"),
        ("--min-agreement", "101"),
        ("--max-accuracy-drop", "-1"),
        ("--share", "0.5", "--held-out", "x"),
        ("--share", "half"),
    ],
)
def test_options_that_are_none_are_status_2(option, capsys):
    with pytest.raises(SystemExit) as exit:
        command(["small.tlee", "--data", "videos", *option])
    assert exit.value.code == 2 and "usage: tlee-calibrate" in capsys.readouterr().err


def test_help_waits_for_no_library():
    code = (
        "import sys\nfrom tlee.calibration.int8.cli import command\n"
        "try: command(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'cv2', 'onnxruntime', 'onnx'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "--min-agreement PERCENT" in run.stdout
