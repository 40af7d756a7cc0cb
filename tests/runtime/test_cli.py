"""`tlee-run`: what it prints, where, and with which status; as a process wherever that may matter."""

import json
import os
import shutil
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from conftest import write_clip

RUN = [sys.executable, "-m", "tlee.runtime.cli"]


def process(*arguments):
    return subprocess.run([*RUN, *map(str, arguments)], capture_output=True, text=True, timeout=300)


def test_results_are_a_table_and_json_lines(small_bundle, clip, tmp_path):
    other = write_clip(tmp_path / "öther clip.mp4")
    run = process(small_bundle, clip, other, "--json", tmp_path / "out.jsonl")
    assert (run.returncode, run.stderr) == (0, "")
    head, *rows = run.stdout.splitlines()
    assert head.split() == ["input", "label", "conf.", "frames", "exit", "share", "ms"]
    assert [row.split("  ")[0] for row in rows] == [str(clip), str(other)]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["source"] for line in lines] == [str(clip), str(other)]
    assert all(line["label"] in row for line, row in zip(lines, rows))


def test_json_goes_to_standard_output_alone_when_asked(tlee_run, small_bundle, clip):
    run = tlee_run(small_bundle, clip, "--json", "-")
    assert [json.loads(line)["source"] for line in run.stdout.splitlines()] == [str(clip)]


def test_bad_inputs_are_one_line_each_and_the_others_are_recognised(small_bundle, clip, tmp_path):
    whole = clip.read_bytes()
    bad = {
        "missing.mp4": None,
        "empty.mp4": b"",
        "cut.mp4": whole[: len(whole) // 2],
        "text.mp4": b"this is no video\n" * 50,
        "noise.avi": bytes(range(256)) * 20,
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_text("no picture")
    names = [*bad, "folder", "pictures"]
    run = process(small_bundle, *[tmp_path / name for name in names], clip, "--json", tmp_path / "out.jsonl")
    assert run.returncode == 1
    errors = run.stderr.splitlines()
    assert len(errors) == len(names)
    for name, line in zip(names, errors):
        assert line.startswith(f"tlee-run: {tmp_path}/{name}") and "; " in line
    assert json.loads((tmp_path / "out.jsonl").read_text())["source"] == str(clip)


def test_the_clips_of_a_folder_are_recognised_in_the_order_of_their_names(tlee_run, small_bundle, clip, tmp_path):
    folder = tmp_path / "clips"
    for name in ("walk/b.mp4", "run/a.AVI", "top.mp4", "jump/frames/0.jpg", "jump/frames/1.jpg", "run/.hidden.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("jpg"):
            cv2.imwrite(str(folder / name), np.zeros((48, 64, 3), np.uint8))
        else:
            shutil.copy(clip, folder / name)
    (folder / "nothing").mkdir()
    (folder / "notes.txt").write_text("text")
    (folder / "walk" / "back").symlink_to(folder)
    run = tlee_run(small_bundle, folder, clip, "--json", "-")
    names = [os.path.relpath(json.loads(line)["source"], folder) for line in run.stdout.splitlines()]
    assert names == ["jump/frames", "run/a.AVI", "top.mp4", "walk/b.mp4", os.path.relpath(clip, folder)]
    empty, other = (line for line in run.stderr.splitlines() if "the model reads" not in line)
    assert empty == f"tlee-run: {folder}: folders without clips: 1 (first: {folder}/nothing)"
    assert other == f"tlee-run: {folder}: left out, since no clips: 1 (first: {folder}/notes.txt)"
    assert run.returncode == 0


def test_a_folder_of_pictures_stays_one_clip_and_a_video_in_it_is_told(tlee_run, small_bundle, clip, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), np.zeros((48, 64, 3), np.uint8))
    (folder / "notes.txt").write_text("text")
    shutil.copy(clip, folder / "0.mp4")
    run = tlee_run(small_bundle, folder, "--json", "-")
    assert [json.loads(line)["source"] for line in run.stdout.splitlines()] == [str(folder)]
    assert f"tlee-run: {folder}: left out, since no clips: 1 (first: {folder}/0.mp4)\n" in run.stderr


def test_a_folder_without_any_clip_is_an_input_that_failed(tlee_run, small_bundle, clip, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    run = tlee_run(small_bundle, tmp_path / "a", clip)
    assert run.returncode == 1 and run.stdout.count("\n") == 2
    assert run.stderr == f"tlee-run: {tmp_path}/a: no pictures in this folder; give a folder of .jpg/.jpeg/.png\n"


def test_a_short_clip_is_recognised_with_one_line_of_warning(tlee_run, small_bundle, tmp_path):
    path = write_clip(tmp_path / "one.mp4", frames=1)
    run = tlee_run(small_bundle, path)
    assert run.returncode == 0 and run.stdout.count("\n") == 2
    assert run.stderr == (
        f"tlee-run: {path}: has 1 frame, the model reads 4: some are used again; "
        "give a longer clip for the full accuracy\n"
    )


def test_thresholds_and_no_early_exit(tlee_run, small_bundle, clip):
    def stops(*options):
        line = json.loads(tlee_run(small_bundle, clip, "--json", "-", *options).stdout)
        return line["exit_frame"], line["exit_layer"]

    assert stops("--first-threshold", "0") == (0, 0)
    assert stops("--first-threshold", "2,0,2", "--layer-threshold", "2") == (0, 1)
    assert stops("--first-threshold", "2", "--layer-threshold", "2", "--gate-threshold", "0") == (1, 0)
    assert stops("--no-early-exit") == (3, 2)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_of_any_kind_are_recognised_and_reported(small_bundle, clip, tmp_path, locale):
    umlaut, broken = (os.fsencode(tmp_path) + name for name in (b"/\xc3\xb6.mp4", b"/\xff.mp4"))
    for name in (umlaut, broken):
        shutil.copy(clip, name)
    command = [*RUN, str(small_bundle), umlaut, broken, umlaut + b"x", "--json", str(tmp_path / "out.jsonl")]
    environment = {**os.environ, "LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    run = subprocess.run(command, capture_output=True, env=environment)
    errors = run.stderr.splitlines()
    assert run.returncode == 1 and len(errors) == 1 and b"no such file" in errors[0]
    sources = [json.loads(line)["source"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [os.fsencode(source) for source in sources] == [umlaut, broken]


def missing_bundle(small_bundle, tmp_path, clip):
    return tmp_path / "none.tlee", clip


def altered_bundle(small_bundle, tmp_path, clip):
    copy = shutil.copytree(small_bundle, tmp_path / "copy.tlee")
    content = bytearray((copy / "fused_exits" / "exit0.onnx").read_bytes())
    content[50] ^= 1
    (copy / "fused_exits" / "exit0.onnx").write_bytes(bytes(content))
    return copy, clip


def unwritable_output(small_bundle, tmp_path, clip):
    return small_bundle, clip, "--json", tmp_path / "none" / "out.jsonl"


def wrong_thresholds(small_bundle, tmp_path, clip):
    return small_bundle, clip, "--layer-threshold", "0.1,0.2"


def unknown_point(small_bundle, tmp_path, clip):
    return small_bundle, clip, "--point", "fast"


@pytest.mark.parametrize("bad", [missing_bundle, altered_bundle, unwritable_output, wrong_thresholds, unknown_point])
def test_wrong_use_is_one_line_and_status_2(tlee_run, small_bundle, tmp_path, clip, bad):
    run = tlee_run(*bad(small_bundle, tmp_path, clip))
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and run.stderr.startswith("tlee-run: ")
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize("option", [["--layer-threshold", "x"], ["--threads", "0"], ["--backend", "tpu"], ["--what"]])
def test_options_that_are_none_are_status_2(tlee_run, small_bundle, clip, option):
    run = tlee_run(small_bundle, clip, *option)
    assert run.returncode == 2 and "Traceback" not in run.stderr


def test_an_interruption_keeps_the_results_so_far(small_bundle, clip, tmp_path):
    command = [*RUN, str(small_bundle), *[str(clip)] * 5000, "--json", str(tmp_path / "out.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() and process.stdout.readline()  # head and first result
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and errors == "tlee-run: interrupted\n"
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert 1 <= len(lines) < 5000 and all(json.loads(line)["label"] for line in lines)
    assert os.listdir(tmp_path).count("out.jsonl") == 1


def test_a_reader_that_closes_early_is_no_error(small_bundle, clip):
    command = " ".join([*RUN, str(small_bundle), *[str(clip)] * 50]) + " | head -n 1"
    run = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert run.stderr == "" and run.stdout.startswith("input")


def test_the_device_side_is_light(small_bundle, clip):
    """No torch, no onnx, under 300 MB; and it reports to nobody."""
    code = (
        "import re, sys\n"
        "from tlee.runtime.cli import command\n"
        f"command([{str(small_bundle)!r}, {str(clip)!r}])\n"
        "heavy = {'torch', 'onnx', 'pydantic', 'yaml', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import os\n"
        "files = [os.path.realpath('/proc/self/fd/' + name) for name in os.listdir('/proc/self/fd')]\n"
        "assert not [file for file in files if 'Microsoft' in file], files  # ONNX Runtime's telemetry\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout.splitlines()[-1]) < 300 * 1024


def test_a_camera_that_is_not_there_is_an_input_that_failed(small_bundle):
    run = subprocess.run([*RUN, small_bundle, "v4l2:///dev/video99"], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("tlee-run: v4l2:///dev/video99: cannot be opened; ")
