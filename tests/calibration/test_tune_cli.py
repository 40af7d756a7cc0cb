"""`tlee-tune`: what it prints and writes, and that it writes all of it or nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from helpers.html_elements import Elements

from tlee import cli
from tlee.bundle import Bundle
from tlee.calibration.thresholds import report as report_module
from tlee.calibration.thresholds.cli import PROGRAM, command
from tlee.calibration.thresholds.trace_file import load_trace

NAMES = ["accurate", "balanced", "fast", "target"]
pytestmark = pytest.mark.usefixtures("short_search")
BASELINES = ["published rule", "one threshold of each kind", "random exit", "fixed exits"]


def tlee_tune(*arguments):
    """Runs the command here; (status, standard output, standard error)."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = cli.run(PROGRAM, command, [str(a) for a in (*arguments, "--workers", 0, "--threads", 1)])
    return status, out.getvalue(), err.getvalue()


def content(folder):
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def points(bundle):
    return Bundle.open(bundle).manifest["exit_rule"]["operating_points"]


class Tuned:
    """A run with a report, and what there was before and after."""

    def __init__(self, folder, bundle, videos):
        self.bundle, self.report = Path(shutil.copytree(bundle, folder / "small.tlee")), folder / "report"
        self.trace, self.before = self.report / "trace.npz", content(self.bundle)
        arguments = ("--data", videos, "-o", self.report, "--min-accuracy", 20)
        self.status, self.out, self.err = tlee_tune(self.bundle, *arguments)
        self.json = json.loads((self.report / "report.json").read_text())
        self.after = content(self.bundle)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, lively_bundle, answered_videos):
    return Tuned(tmp_path_factory.mktemp("tuned"), lively_bundle().path, answered_videos)


@pytest.fixture
def fresh(lively_bundle, tmp_path):
    """A bundle that was never tuned."""
    return Path(shutil.copytree(lively_bundle().path, tmp_path / "fresh.tlee"))


def test_a_table_of_points_and_one_of_baselines(tuned):
    head, *rest = tuned.out.splitlines()
    videos = tuned.json["data"]["videos"]
    assert head == "small: 64 videos for tuning, none held out: what points lose is cross-fitted"
    assert (tuned.status, tuned.err, videos) == (0, "", {"tuning": 64, "held_out": 0})
    assert rest[0].split("  ")[0] == "point" and rest[0].endswith("lost  at most")
    tails = ["1 frame to the tail", "3 frames to the tail", "no exit"]
    assert [row.split("  ")[0] for row in rest[1:8]] == [*NAMES, *tails]
    assert sum(row.startswith("front: ") for row in rest) == 2
    assert [row.split("  ")[0] for row in rest[-7:-3]] == BASELINES
    assert rest[-2].startswith("simulation: 0.0 % of the videos guessed at most; front really run: accuracy within 0.0")
    assert rest[-2].endswith("plain runtime on the tuning videos: the same")
    assert rest[-1] == f"written: {tuned.bundle}, {tuned.report}/index.html"


def test_numbers_of_the_table_are_the_reports(tuned):
    fast = tuned.json["points"]["fast"]
    row = next(line for line in tuned.out.splitlines() if line.startswith("fast")).split("  ")
    row = [cell.strip() for cell in row if cell.strip()]
    assert row[1] == f"{100 * fast['held_out']['top1']:.1f} %" and row[-1] == f"{fast['promise']['bound']:.1f}"
    assert row[-4] == f"{100 * fast['held_out']['share_of_macs']:.1f} %"


def test_only_the_manifest_of_the_bundle_changes(tuned):
    assert {**tuned.before, "manifest.json": 0} == {**tuned.after, "manifest.json": 0}
    assert sorted(points(tuned.bundle)) == NAMES
    for name, point in points(tuned.bundle).items():
        assert point["thresholds"] == tuned.json["points"][name]["thresholds"]
        shared = {"precision": "fp32", "no_exit_top1": tuned.json["full"]["held_out"]}
        shared["promise"] = tuned.json["points"][name]["promise"]
        assert point["measured"] == {**tuned.json["points"][name]["held_out"], **shared}
    assert sorted(os.listdir(tuned.bundle.parent)) == ["report", "small.tlee"]


def test_a_report_is_three_files(tuned, answered_videos):
    assert sorted(os.listdir(tuned.report)) == ["index.html", "report.json", "trace.npz"]
    data = {"source": str(answered_videos), "format": "folders", "split": "val", "held_out": None, "share": 0.0}
    data["seed"] = 0
    traced = load_trace(tuned.trace)
    counts = {name: len(part.entries) for name, part in traced.videos._asdict().items()}
    assert tuned.json["data"] == {**data, "videos": counts, "repeated": [], "unreadable": []} and traced.data == data


def test_the_reports_keys_are_those_described(tuned):
    functions = report_module.point_measurements, report_module.promise_of
    described = report_module.__doc__ + "".join(function.__doc__ for function in functions)
    sections = re.findall(r"^    (\w+)(?:\.NAME)? {2,}", report_module.__doc__, re.MULTILINE)
    assert sorted(sections) == sorted(tuned.json) and list(tuned.json["baselines"]) == sorted(BASELINES)
    unnamed = {section: list(tuned.json[section].values()) for section in ("points", "baselines")}
    parts = {"backbone", "branches", "branch", "frm", "gate", "classes", "first", "layer", "path"}
    assert {key for key in keys({**tuned.json, **unnamed}) if not re.search(rf"\b{key}\b", described)} <= parts


def keys(value):
    """All keys, however deep."""
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set(value if isinstance(value, dict) else ()).union(*map(keys, below))


def test_tuning_from_the_trace_gives_the_same_again(tuned, tmp_path):
    for name, file in tuned.before.items():  # as it was before
        (tuned.bundle / name).write_bytes(file)
    arguments = ("--trace", tuned.trace, "-o", tmp_path / "again", "--min-accuracy", 20)
    status, out, err = tlee_tune(tuned.bundle, *arguments)
    assert (status, err) == (0, "") and out.splitlines()[:-1] == tuned.out.splitlines()[:-1]
    assert content(tuned.bundle) == tuned.after
    assert content(tmp_path / "again") == content(tuned.report)


def test_another_target_can_be_asked_of_a_trace(tuned, fresh, tmp_path, undrawn):
    graphs = {name: {"milliseconds": 1.0} for name in Bundle.open(fresh).segments}
    profile = {"format": 1, "device": "Jetson <Nano>", "graphs": {**graphs, "frame": {"milliseconds": 5.0}}}
    (tmp_path / "profile.json").write_text(json.dumps(profile))
    arguments = ("--trace", tuned.trace, "--profile", tmp_path / "profile.json", "--max-ms", 20)
    status, out, err = tlee_tune(fresh, *arguments, "-o", tmp_path / "report")
    assert (status, err) == (0, "") and out.endswith(f"written: {fresh}, {tmp_path}/report/index.html\n")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["metric"] == {"unit": "ms", "device": "Jetson <Nano>", "full": 4 * (5 + 3 + 3)}
    point = report["points"]["target"]
    assert point["tuning"]["cost"] <= 20 and points(fresh)["target"]["measured"]["unit"] == "ms"
    best = min((level for level in report["levels"] if level["cost"] <= 20), key=lambda level: level["loss"])
    assert report["front"][point["front"]]["tuning"]["cost"] <= 20 and best["loss"] <= report["levels"][-1]["loss"]
    # At least decoding, a split, a branch, FRM and head for every frame that was used.
    assert point["held_out"]["cost"] >= point["held_out"]["mean_frames"] * (5 + 4)
    assert "ms on Jetson &lt;Nano&gt;" in (tmp_path / "report" / "index.html").read_text()


def test_a_share_of_the_work_can_be_asked_of_a_trace(tuned, fresh, tmp_path, undrawn):
    status, _, err = tlee_tune(fresh, "--trace", tuned.trace, "--max-macs", 30, "-o", tmp_path / "report")
    assert (status, err) == (0, "")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    limit = 0.3 * report["metric"]["full"]
    cheap = [level for level in report["levels"] if level["cost"] <= limit]
    assert report["points"]["target"]["tuning"]["cost"] <= limit and cheap
    status, _, err = tlee_tune(fresh, "--trace", tuned.trace, "--max-macs", 0)
    assert status == 2 and "target: out of reach, the nearest point is" in err


def test_a_point_is_used_by_name(tuned, answered_videos):
    video = next(answered_videos.rglob("*.mp4"))
    arguments = [tuned.bundle, video, "--point", "fast", "--json", "-", "--threads", "1"]
    run = subprocess.run(
        [sys.executable, "-m", "tlee.runtime.cli", *arguments], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout)["label"] in ("walk", "run", "jump")


def test_the_page_needs_nothing_else(tuned):
    text = (tuned.report / "index.html").read_text()
    elements = Elements(text)
    assert set(elements.names) >= {"h1", "h2", "table", "svg", "details"} and elements.fetched() == []
    assert "@import" not in text and "Videos left out" not in text
    for words in ("tuned front", "published rule", *NAMES, "Temperatures", "the same"):
        assert words in text


@pytest.fixture
def videos(answered_videos, tmp_path):
    """The videos in a folder that may be changed."""
    return Path(shutil.copytree(answered_videos, tmp_path / "videos", copy_function=os.link))


def test_unreadable_videos_are_a_line_each_and_status_1(fresh, videos, tmp_path, undrawn):
    broken = sorted(videos.rglob("*.mp4"))[::30]
    for path in broken:
        path.unlink()
        path.write_bytes(b"no video")
    status, out, err = tlee_tune(fresh, "--data", videos, "-o", tmp_path / "report")
    assert status == 1 and sorted(points(fresh)) == NAMES[:3]
    assert sorted(err.splitlines()) == [line for line in sorted(err.splitlines()) if ": not a video" in line]
    assert sorted(line.split(": ")[1] for line in err.splitlines()) == [str(path) for path in broken]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert sorted(video["path"] for video in report["data"]["unreadable"]) == [str(path) for path in broken]
    assert sum(report["data"]["videos"].values()) == 64 - len(broken)
    assert "Videos left out" in (tmp_path / "report" / "index.html").read_text()


@pytest.fixture
def no_page(monkeypatch):
    """For tests that do not look at it: it takes a second."""
    monkeypatch.setattr("tlee.reports.thresholds_page.page", lambda report: "")


def test_held_out_videos_that_were_tuned_on_are_left_out_with_a_line(fresh, videos, tmp_path, no_page):
    held_out = tmp_path / "held-out"
    for path in sorted(videos.rglob("*.mp4"))[::2]:
        (held_out / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(held_out / path.parent.name / path.name)
    copies = [held_out / "run" / "copy.mp4", held_out / "walk" / "copy.mp4"]
    for copy, path in zip(copies, sorted(videos.rglob("*.mp4"))):
        shutil.copy(path, copy)
    status, out, err = tlee_tune(fresh, "--data", videos, "--held-out", held_out, "-o", tmp_path / "report")
    message = f"held-out videos left out, with the frames of a tuning video: 2 (first: {copies[0]})"
    assert (status, err) == (0, f"tlee-tune: {message}\n")
    assert out.startswith("small: 32 held-out videos, 32 for tuning\n")
    data = json.loads((tmp_path / "report" / "report.json").read_text())["data"]
    assert data["repeated"] == [str(path) for path in copies] and data["share"] is None


def test_a_target_out_of_reach_writes_nothing(tuned, fresh, tmp_path):
    before = content(tmp_path)
    status, out, err = tlee_tune(fresh, "--trace", tuned.trace, "--min-accuracy", 99.9, "-o", tmp_path / "report")
    assert (status, out) == (2, "") and content(tmp_path) == before and os.listdir(tmp_path) == ["fresh.tlee"]
    assert re.fullmatch(r"tlee-tune: target: out of reach, the nearest point is \d.* % at .* MACs; .* written\n", err)


def test_a_bundle_that_changes_meanwhile_is_left_as_it_is(tuned, fresh, tmp_path, monkeypatch):
    manifest = json.loads((fresh / "manifest.json").read_text())
    manifest["exit_rule"]["thresholds"]["gate"] = [0.1, 0.2, 0.3]

    def page(report):
        (fresh / "manifest.json").write_text(json.dumps(manifest))
        return ""

    monkeypatch.setattr("tlee.reports.thresholds_page.page", page)
    status, out, err = tlee_tune(fresh, "--trace", tuned.trace, "-o", tmp_path / "report")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "changed since it was opened" in err
    assert Bundle.open(fresh).manifest == manifest and os.listdir(tmp_path) == ["fresh.tlee"]


def neither_videos_nor_trace(tuned, lively_bundle, videos, tmp_path):
    return (), "videos: named neither or twice"


def videos_and_trace(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--trace", tuned.trace), "videos: named neither or twice"


def time_and_energy(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--max-ms", 1, "--max-mj", 1), "limits costs of several kinds"


def work_on_a_device(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--max-macs", 5, "--profile", "nano.json"), "given with --profile"


def time_without_a_profile(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tuned.trace, "--max-ms", 5), "needs costs of the device; give its tlee-bench profile"


def energy_without_a_profile(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--max-mj", 5), "needs costs of the device"


def no_profile(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tuned.trace, "--profile", tmp_path / "none.json"), "none.json: No such file"


def a_trace_and_another_seed(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tuned.trace, "--seed", 1), "--seed given with --trace, which has its own"


def no_trace(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tmp_path / "none.npz"), "No such file or directory; record again"


def a_trace_without_a_name(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", ""), "No such file or directory; record again"


def a_damaged_trace(tuned, lively_bundle, videos, tmp_path):
    whole = tuned.trace.read_bytes()
    (tmp_path / "bad.npz").write_bytes(whole[:500] + bytes(100) + whole[600:])  # more than a member's dates
    return ("--trace", tmp_path / "bad.npz"), "not a trace of tlee-tune, or damaged"


def a_trace_of_another_model(tuned, lively_bundle, videos, tmp_path):
    other = shutil.copytree(lively_bundle(gate="none", frm="none").path, tmp_path / "other.tlee")
    return ("--trace", tuned.trace, other), "the trace was recorded of another model"


def a_trace_of_another_sampling(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tuned.trace, "--sampling", "keyframes"), "the trace was recorded of another model or sampling"


def a_gate_that_draws(tuned, lively_bundle, videos, tmp_path):
    other = shutil.copytree(lively_bundle(gate="random").path, tmp_path / "other.tlee")
    return ("--data", videos, other), "its gate draws at random"


def another_precision(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--precision", "int8"), "has no int8 variant; make it with tlee-calibrate"


def too_few_videos(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--share", 0.2), "held-out videos: 13, at least 20 are needed"


def the_same_videos_held_out(tuned, lively_bundle, videos, tmp_path):
    return ("--data", videos, "--held-out", videos), "is among the videos to choose by and those to report on"


def a_class_without_videos(tuned, lively_bundle, videos, tmp_path):
    shutil.rmtree(videos / "run")
    return ("--data", videos), "videos: none of class 'run'"


def no_videos(tuned, lively_bundle, videos, tmp_path):
    return ("--data", tmp_path / "none"), "no clips here"


def a_report_that_exists(tuned, lively_bundle, videos, tmp_path):
    (tmp_path / "report").mkdir()
    return ("--data", videos, "-o", tmp_path / "report"), "exists already"


def a_report_inside_the_bundle(tuned, lively_bundle, videos, tmp_path):
    return ("--trace", tuned.trace, "-o", tmp_path / "fresh.tlee" / "report"), "not listed in the manifest"


@pytest.mark.parametrize(
    "wrong",
    [
        neither_videos_nor_trace,
        videos_and_trace,
        time_and_energy,
        work_on_a_device,
        time_without_a_profile,
        energy_without_a_profile,
        no_profile,
        a_trace_and_another_seed,
        no_trace,
        a_trace_without_a_name,
        a_damaged_trace,
        a_trace_of_another_model,
        a_trace_of_another_sampling,
        a_gate_that_draws,
        another_precision,
        too_few_videos,
        the_same_videos_held_out,
        a_class_without_videos,
        no_videos,
        a_report_that_exists,
        a_report_inside_the_bundle,
    ],
)
def test_wrong_use_is_one_line_and_status_2(tuned, lively_bundle, fresh, videos, tmp_path, no_page, wrong):
    (*arguments,), message = wrong(tuned, lively_bundle, videos, tmp_path)
    bundle = arguments.pop() if arguments and str(arguments[-1]).endswith("other.tlee") else fresh
    output = [] if "-o" in arguments else ["-o", tmp_path / "report"]
    before = content(tmp_path), sorted(os.listdir(tmp_path))
    status, out, err = tlee_tune(bundle, *arguments, *output)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("tlee-tune: ") and "; " in err and message in err
    assert (content(tmp_path), sorted(os.listdir(tmp_path))) == before


@pytest.mark.parametrize(
    "options",
    [
        ["--held-out", "a", "--share", "0.5"],
        ["--max-ms", "x"],
        ["--min-accuracy", "nan"],
        ["--seed", "-1"],
        ["--precision", "fp4"],
        ["--metod"],
    ],
    ids=lambda options: options[0],
)
def test_options_that_are_none_are_status_2(options, capsys):
    with pytest.raises(SystemExit) as exit:
        command(["small.tlee", "--data", "videos", *options])
    assert exit.value.code == 2 and "usage: tlee-tune" in capsys.readouterr().err


def test_help_waits_for_no_library():
    code = (
        "import sys\nfrom tlee.calibration.thresholds.cli import command\n"
        "try: command(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'numba', 'scipy', 'matplotlib', 'cv2', 'onnxruntime'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "--trace FILE" in run.stdout
