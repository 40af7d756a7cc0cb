"""`tlee-eval`: what it prints, what it writes, and with which status it ends."""

import json
import shutil
import subprocess
import sys

import pytest

from tlee import cli
from tlee.evaluation.cli import PROGRAM, command
from tlee.modes import MODES, RIVALS


@pytest.fixture
def tlee_eval(capsys):
    """Runs the command here; (status, standard output, standard error)."""

    def run(*arguments):
        status = cli.run(PROGRAM, command, [str(argument) for argument in (*arguments, "--workers", 0)])
        return status, *capsys.readouterr()

    return run


def test_a_table_of_modes_and_nothing_written(tlee_eval, checkpoint, videos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = tlee_eval(checkpoint, "--data", videos)
    shown, told = out.split("\n\n")
    head, columns, *rows = shown.splitlines()
    assert (status, err, head) == (0, "", "small: 6 videos")
    assert columns.split()[:2] == ["mode", "top-1"]
    assert [row.split("  ")[0] for row in rows] == list(MODES)
    assert [line.split(" (")[0].split()[-2:] for line in told.splitlines()[:3]] == [r.split() for r in RIVALS]
    assert told.splitlines()[3].startswith("attention: on one frame")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def as_a_process():
    def run(*arguments):
        command = [sys.executable, "-m", "tlee.evaluation.cli", *map(str, arguments), "--workers", "0"]
        ended = subprocess.run(command, capture_output=True, text=True)
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.mark.parametrize("way", ["tlee_eval", pytest.param("as_a_process", marks=pytest.mark.full)])
def test_a_report_of_a_bundle(checkpoint, bundle, videos, tmp_path, tlee_eval, way, request):
    options = ("-o", tmp_path / "report", "--threads", 1, "--batch", 4)
    status, out, err = request.getfixturevalue(way)(bundle, "--data", videos, *options)
    assert (status, err) == (0, "")
    *table, written = out.splitlines()
    assert written == f"written: {tmp_path}/report/index.html"
    assert table == tlee_eval(checkpoint, "--data", videos)[1].splitlines()
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["subject"]["kind"] == "bundle" and report["subject"]["path"] == str(bundle)
    assert report["data"] == {"source": str(videos), "format": "folders", "split": "val", "videos": 6}
    lines = (tmp_path / "report" / "videos.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(path) for path in sorted(videos.rglob("*.mp4"))]
    page = (tmp_path / "report" / "index.html").read_text()
    assert all(f"{line[:1].upper()}{line[1:]}." in page for line in table if line.startswith("early exits: "))
    assert set(report["rivals"]) == set(RIVALS) and report["exit_faults"]["one_frame"]


def test_unreadable_videos_are_a_line_each_and_status_1(tlee_eval, checkpoint, videos, tmp_path, undrawn):
    shutil.copytree(videos, tmp_path / "data")
    (tmp_path / "data" / "run" / "0.mp4").write_bytes(b"no video")
    status, out, err = tlee_eval(checkpoint, "--data", tmp_path / "data", "-o", tmp_path / "report")
    assert status == 1 and out.startswith("small: 5 videos, 1 could not be read\n")
    assert err.count("\n") == 1 and err.startswith(f"tlee-eval: {tmp_path}/data/run/0.mp4: not a video")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["videos"] == 5 and [video["path"] for video in report["unreadable"]] == [f"{tmp_path}/data/run/0.mp4"]
    assert "Videos left out" in (tmp_path / "report" / "index.html").read_text()


def test_the_report_says_which_frames_were_read(tlee_eval, checkpoint, bundle, videos, tmp_path, monkeypatch):
    monkeypatch.setattr("tlee.reports.evaluation_page.page", lambda report: "")  # takes a second
    for name, subject, options in (("own", bundle, ()), ("other", checkpoint, ("--sampling", "keyframes"))):
        tlee_eval(subject, "--data", videos, "--limit", 2, "-o", tmp_path / name, *options)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("own", "other")]
    assert [report["subject"]["sampling"] for report in reports] == ["uniform", "keyframes"]


def test_a_limit_is_spread_over_the_list(tlee_eval, checkpoint, videos, tmp_path, monkeypatch):
    monkeypatch.setattr("tlee.reports.evaluation_page.page", lambda report: "")  # takes a second
    status, *_ = tlee_eval(checkpoint, "--data", videos, "--limit", 3, "-o", tmp_path / "report")
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert status == 0 and report["videos"] == 3 and report["data"]["videos"] == 6
    assert [row["class"] for row in report["per_class"]] == ["walk", "run", "jump"]


def test_a_list_with_labels_and_notes(tlee_eval, checkpoint, videos, tmp_path):
    (tmp_path / "names.txt").write_text("jump\nrun\nwalk\n")
    (tmp_path / "list.txt").write_text("jump/0.mp4 8 0\nwalk/1.mp4 8 2\n")
    options = ("--format", "hmdb51", "--root", videos, "--labels", tmp_path / "names.txt")
    status, out, err = tlee_eval(checkpoint, "--data", tmp_path / "list.txt", *options)
    assert status == 0 and out.startswith("small: 2 videos\n")
    assert all(line.startswith(f"tlee-eval: {tmp_path}/list.txt: ") for line in err.splitlines())
    assert "classes without videos: 1 (first: 'run')" in err


def no_model(checkpoint, bundle, videos, tmp_path):
    return tmp_path / "none.safetensors", "--data", videos


def published_without_configuration(checkpoint, bundle, videos, tmp_path):
    return shutil.copy(checkpoint, tmp_path / "best.pth.tar"), "--data", videos


def own_with_configuration(checkpoint, bundle, videos, tmp_path):
    (tmp_path / "a.yml").write_text("model: {classes: 3}\n")
    return checkpoint, "--data", videos, "--config", tmp_path / "a.yml"


def point_of_a_checkpoint(checkpoint, bundle, videos, tmp_path):
    return checkpoint, "--data", videos, "--point", "fast"


def unknown_point(checkpoint, bundle, videos, tmp_path):
    return bundle, "--data", videos, "--point", "fast"


def no_videos(checkpoint, bundle, videos, tmp_path):
    return checkpoint, "--data", tmp_path


def other_classes(checkpoint, bundle, videos, tmp_path):
    shutil.copytree(videos / "run", tmp_path / "data" / "swim")
    return checkpoint, "--data", tmp_path / "data"


def a_report_that_exists(checkpoint, bundle, videos, tmp_path):
    (tmp_path / "report").mkdir()
    return checkpoint, "--data", videos, "-o", tmp_path / "report"


def a_folder_that_is_no_report(checkpoint, bundle, videos, tmp_path):
    (tmp_path / "report").mkdir()
    return checkpoint, "--data", videos, "-o", tmp_path / "report", "--replace"


def no_such_place(checkpoint, bundle, videos, tmp_path):
    return checkpoint, "--data", videos, "-o", tmp_path / "none" / "report"


@pytest.mark.parametrize(
    "wrong",
    [
        no_model,
        published_without_configuration,
        own_with_configuration,
        point_of_a_checkpoint,
        unknown_point,
        no_videos,
        other_classes,
        a_report_that_exists,
        a_folder_that_is_no_report,
        no_such_place,
    ],
)
def test_wrong_use_is_one_line_and_status_2(tlee_eval, checkpoint, bundle, videos, tmp_path, wrong):
    arguments = wrong(checkpoint, bundle, videos, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, out, err = tlee_eval(*arguments)
    assert status == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("tlee-eval: ") and "; " in err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", [["--batch", "0"], ["--workers", "-1"], ["--limit", "x"], ["--format", "dvd"]])
def test_options_that_are_none_are_status_2(checkpoint, videos, option, capsys):
    with pytest.raises(SystemExit) as exit:
        command([str(checkpoint), "--data", str(videos), *option])
    assert exit.value.code == 2 and "usage: tlee-eval" in capsys.readouterr().err


def test_help_waits_for_no_library():
    code = (
        "import sys\nfrom tlee.evaluation.cli import command\n"
        "try: command(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'cv2', 'onnxruntime'} & set(sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "--data PATH" in run.stdout
