"""How the device's commands end where the system gives them little, or where somebody wants them to end."""

import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import av
import pytest
from conftest import write_clip
from helpers.videos import encode, picture

PATIENCE = 120  # seconds, for what should come at once
full = pytest.mark.full
BIN = Path(sys.executable).parent
BENCH = ["--rounds", "1", "--block", "0.02", "--cold", "0", "--sustained", "0.02", "--power", "none"]

# A call into a library that does not come back and that no signal interrupts: a lock that is waited for in C.
STUCK = """
import ctypes, sys
from tlee.data import video
from tlee.runtime import cli, live
def stuck(*_):
    lock = ctypes.create_string_buffer(64)
    wait = ctypes.CDLL(None).pthread_mutex_lock
    wait(lock), wait(lock)
left = [{whole}]
def so_many(method):
    def call(*arguments):
        left[0] -= 1
        return method(*arguments) if left[0] >= 0 else stuck()
    return call
video.VideoFile.__init__ = so_many(video.VideoFile.__init__)
live.LiveSource._next = so_many(live.LiveSource._next)
sys.argv = ["tlee-run"] + {arguments!r}
cli.main()
"""


def command(name, *arguments):
    return [str(BIN / name), *map(str, arguments)]


def ended(arguments, **options):
    run = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, **options)
    assert "Traceback" not in run.stderr and run.returncode in (0, 1, 2), run.stderr
    return run


def stuck(whole, *arguments):
    code = STUCK.format(whole=whole, arguments=[str(argument) for argument in arguments])
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# -- interrupts


@pytest.mark.parametrize(
    ("kind", "batch", "number"),
    [
        ("file", 1, signal.SIGINT),
        ("live", 2, signal.SIGTERM),
        pytest.param("file", 2, signal.SIGTERM, marks=full),
        pytest.param("live", 1, signal.SIGINT, marks=full),
        pytest.param("live", 1, signal.SIGHUP, marks=full),
    ],
)
def test_what_does_not_come_back_keeps_nobody_from_ending_it(small_bundle, tmp_path, kind, batch, number):
    clip = write_clip(tmp_path / "clip.avi", frames=400, size=(48, 48), fourcc="MJPG")
    inputs, whole = ([clip] * 9, 3) if kind == "file" else ([f"file://{clip}"] * batch, 12 * batch)
    output = tmp_path / "out.jsonl"
    options = ["--batch", batch, "--seconds", "0.4", "--json", output, "--no-early-exit"]
    process = stuck(whole, small_bundle, *inputs, *options)
    assert [process.stdout.readline() for _ in range(2)][1]  # head and first result
    if batch == 1:
        assert [process.stdout.readline() for _ in range(2)][1]  # what is stuck comes next
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (130, "tlee-run: interrupted\n")
    lines = output.read_text().splitlines()
    assert lines and all(json.loads(line)["label"] for line in lines)


@full
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_silent_camera_does_not_either(small_bundle, batch, number):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(9)
        silent.settimeout(PATIENCE)
        addresses = [f"rtsp://127.0.0.1:{silent.getsockname()[1]}/{i}" for i in range(batch)]
        process = subprocess.Popen(
            command("tlee-run", small_bundle, *addresses, "--batch", batch),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        asked = silent.accept()[0]
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, errors) == (130, "tlee-run: interrupted\n")
        asked.close()


def test_a_pipe_in_place_of_a_video_is_refused(small_bundle, tlee_run, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for address in (tmp_path / "pipe.mp4", "/dev/zero", f"file://{tmp_path}/pipe.mp4", f"v4l2://{tmp_path}/pipe.mp4",
                    "file:///dev/zero", f"file://{tmp_path}"):  # fmt: skip
        run = tlee_run(small_bundle, address)
        assert run.returncode == 1 and run.stderr.count("\n") == 1 and "plain file" in run.stderr


# -- output


def shell(text, *arguments):
    text = text.format(*(shlex.quote(str(argument)) for argument in arguments))
    return subprocess.run(["bash", "-c", text], capture_output=True, text=True, timeout=PATIENCE)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_reader_that_has_seen_enough_ends_no_other_output(small_bundle, clip, tmp_path):
    output = tmp_path / "r.jsonl"
    run = shell("{} {} {} {} {} --json {} | head -1", BIN / "tlee-run", small_bundle, clip, clip, clip, output)
    assert run.stderr == "" and run.stdout.startswith("input") and len(rows(output)) == 3


@pytest.mark.parametrize("where", ["--json -", pytest.param("", marks=full), pytest.param("--batch 2", marks=full)])
def test_where_nobody_reads_any_more_nothing_more_is_recognised(small_bundle, clip, where):
    clips = " ".join([shlex.quote(str(clip))] * 500)
    text = "{} {} " + clips + " missing.mp4 " + where + " | head -2 | wc -l; echo ${{PIPESTATUS[0]}}"
    run = shell(text, BIN / "tlee-run", small_bundle)
    assert run.stderr == "" and run.stdout.split() == ["2", "0"]  # it never comes to the one that is missing


def test_without_any_standard_stream_results_go_where_they_shall(small_bundle, clip, tmp_path):
    output = tmp_path / "r.jsonl"
    shell("{} {} {} --json {} <&- >&- 2>&-", BIN / "tlee-run", small_bundle, clip, output)
    (row,) = rows(output)
    assert row["source"] == str(clip)


FULL_OUTPUT = [
    ("tlee-run {0} {1} > /dev/full", 1),
    ("tlee-run {0} {1} --json - > /dev/full", 1),
    ("tlee-run {0} {1} --json /dev/full", 2),
    ("tlee-run {0} {1} >&-", 1),
    ("tlee-info {0} > /dev/full", 1),
    ("tlee-doctor > /dev/full", 1),
    ("tlee-bench {0} {1} {2} > /dev/full", 1),
    ("tlee-bench {0} {1} {2} --json /dev/full --profile /dev/full", 2),
]


@pytest.mark.parametrize(
    ("text", "status"), [case if i in (0, 2) else pytest.param(*case, marks=full) for i, case in enumerate(FULL_OUTPUT)]
)
def test_output_without_room_is_a_line_and_a_status(small_bundle, clip, text, status):
    quoted = [shlex.quote(str(small_bundle)), shlex.quote(str(clip)), " ".join(BENCH)]
    run = shell(f"PATH={BIN}:$PATH; " + text.format(*quoted).replace("{", "{{").replace("}", "}}"))
    lines = run.stderr.splitlines()
    assert run.returncode == status and len(lines) == (2 if "--profile" in text else 1)
    assert all("cannot be written" in line for line in lines)
    if "tlee-bench" in text and ">" not in text:
        assert "early exits" in run.stdout  # what was measured is told all the same


@pytest.mark.parametrize("kind", ["device", "link", "private", "pipe"])
def test_results_go_where_they_are_sent(small_bundle, tlee_run, clip, tmp_path, kind):
    target, place = tmp_path / "target.jsonl", tmp_path / "out.jsonl"
    if kind == "device":
        place = Path("/dev/null")
    elif kind == "link":
        target.write_text("")
        place.symlink_to(target)
    elif kind == "private":
        place.write_text("")
        place.chmod(0o600)
    else:
        os.mkfifo(place)
        reader = subprocess.Popen(["cat", place], stdout=subprocess.PIPE, text=True)
    run = tlee_run(small_bundle, clip, "--json", place)
    assert (run.returncode, run.stderr) == (0, "")
    if kind == "device":
        assert not place.is_file()
    elif kind == "pipe":
        assert json.loads(reader.communicate()[0])["source"] == str(clip)
    else:
        assert rows(place)[0]["source"] == str(clip)
        assert place.is_symlink() == (kind == "link") and (kind == "link" or place.stat().st_mode & 0o777 == 0o600)


@full
@pytest.mark.parametrize("place", [">(cat)", "/dev/stdout", "/proc/self/fd/1"])
def test_results_go_to_another_process(small_bundle, clip, place):
    run = shell("{} {} {} --json " + place, BIN / "tlee-run", small_bundle, clip)
    assert (run.returncode, run.stderr) == (0, "") and f'"source": "{clip}"' in run.stdout


@full
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mounted_file_gets_the_results(small_bundle, clip, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(""), other.write_text("")
    text = "mount --bind {} {} && {} {} {} --json {}"
    inside = text.format(*(shlex.quote(str(a)) for a in (one, other, BIN / "tlee-run", small_bundle, clip, other)))
    run = subprocess.run(["unshare", "-m", "bash", "-c", inside], capture_output=True, text=True)
    if "mount" in run.stderr or "unshare" in run.stderr:
        pytest.skip("mounting is not permitted here")
    assert (run.returncode, run.stderr) == (0, "") and rows(one)[0]["source"] == str(clip)


def test_names_are_shown_and_not_obeyed(small_bundle, tlee_run, clip, tmp_path):
    odd = tmp_path / "a\x1b[2J\nb.mp4"
    wide = tmp_path / "動画.mp4"
    odd.write_bytes(clip.read_bytes()), wide.write_bytes(clip.read_bytes())
    run = tlee_run(small_bundle, odd, wide, f"{odd}x")
    assert "\x1b" not in run.stdout + run.stderr and "a\\x1b[2J\\nb.mp4" in run.stdout
    head, first, second = run.stdout.splitlines()
    assert first.index("%") == second.index("%") + 2  # columns of a terminal: two letters take two each
    assert run.stderr.count("\n") == 1


# -- a system that gives little


def limited(name, value):
    return {"preexec_fn": lambda: resource.setrlimit(getattr(resource, name), (value, value))}


# With fewer than 5 descriptors Python itself does not start.
@pytest.mark.parametrize("count", [6, *[pytest.param(n, marks=full) for n in (5, 7, 8, 9, 10, 12, 16)]])
def test_few_descriptors_are_enough_or_the_cause(small_bundle, clip, count, tmp_path):
    run = ended(
        command("tlee-run", small_bundle, clip, "--json", tmp_path / "r.jsonl"), **limited("RLIMIT_NOFILE", count)
    )
    if run.returncode:
        assert run.stderr.count("\n") == 1 and "Too many open files" in run.stderr


@pytest.mark.parametrize("megabytes", [250, *[pytest.param(n, marks=full) for n in range(40, 800, 40)]])
def test_little_memory_is_enough_or_the_cause(small_bundle, clip, megabytes):
    run = ended(command("tlee-run", small_bundle, clip), **limited("RLIMIT_AS", megabytes << 20))
    if run.returncode and not run.stderr.startswith("OpenBLAS error: Memory"):  # which ends the process itself
        assert run.stderr.count("\n") == 1 and "memory" in run.stderr


@full
@pytest.mark.parametrize("name", ["tlee-info", "tlee-doctor", "tlee-bench"])
@pytest.mark.parametrize("limit", [("RLIMIT_NOFILE", 5), ("RLIMIT_NOFILE", 8), ("RLIMIT_AS", 200 << 20)])
def test_other_commands_end_in_order_too(small_bundle, clip, name, limit):
    arguments = [small_bundle, clip, *BENCH] if name == "tlee-bench" else [small_bundle]
    run = ended(command(name, *arguments), **limited(*limit))
    assert run.stderr.count("\n") <= 1


def test_a_file_that_may_not_grow_is_one_line(small_bundle, clip, tmp_path):
    output = tmp_path / "r.jsonl"
    run = ended(command("tlee-run", small_bundle, clip, "--json", output), **limited("RLIMIT_FSIZE", 10))
    assert run.returncode == 2 and run.stderr.count("\n") == 1 and "cannot be written (File too large)" in run.stderr
    assert os.listdir(tmp_path) == ["clip.mp4"]


@full
@pytest.mark.skipif(os.geteuid() != 0, reason="hiding /proc needs root")
@pytest.mark.parametrize("name", ["tlee-run", "tlee-info", "tlee-doctor", "tlee-bench"])
def test_without_proc_all_works(small_bundle, clip, name):
    arguments = {"tlee-run": [small_bundle, clip], "tlee-bench": [small_bundle, clip, *BENCH]}.get(name, [small_bundle])
    inside = "mount -t tmpfs none /proc && " + " ".join(map(shlex.quote, command(name, *arguments)))
    run = subprocess.run(["unshare", "-m", "bash", "-c", inside], capture_output=True, text=True)
    if "mount" in run.stderr or "unshare" in run.stderr:
        pytest.skip("mounting is not permitted here")
    assert run.returncode == 0 and "Traceback" not in run.stderr


@pytest.mark.parametrize("name", ["tlee-run", *[pytest.param(n, marks=full) for n in ("tlee-bench", "tlee-doctor")]])
def test_nothing_is_left_in_the_users_folder(small_bundle, clip, tmp_path, name):
    """ONNX Runtime would keep a data base there, and report what it runs to its maker."""
    home = tmp_path / "home"
    home.mkdir()
    values = {key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")}
    arguments = {"tlee-run": [small_bundle, clip], "tlee-bench": [small_bundle, clip, *BENCH]}.get(name, [])
    ended(command(name, *arguments), env={**values, "HOME": str(home)})
    assert list(home.rglob("*")) == []


SHORT = """
import resource, sys
from tlee.errors import InputError
from tlee.runtime import Recognizer
bundle, small, large = sys.argv[1:]
with Recognizer.load(bundle, threads=1) as recognizer:
    recognizer.recognize(small)
    taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken, -1))
    try:
        recognizer.recognize(large)
    except InputError as error:
        print(error)
"""


def test_a_video_for_which_memory_lacks_says_so(small_bundle, clip, tmp_path):
    pictures = [av.VideoFrame.from_ndarray(picture(number, 4096, 2304), "gray") for number in range(2)]
    large = encode(
        tmp_path / "large.mp4",
        "mjpeg",
        pictures=[one.reformat(format="yuvj420p") for one in pictures],
        pixels="yuvj420p",
    )
    run = subprocess.run([sys.executable, "-c", SHORT, small_bundle, clip, large], capture_output=True, text=True)
    assert run.stderr == "" and re.fullmatch(r".*large.mp4: not enough memory .*\n", run.stdout)
