"""How long a recogniser on a GPU lives: threads, closing, ends of the process, interruptions and errors in the middle.

PyCUDA keeps a stack of contexts per thread: what is pushed in one thread is not there in another one, and what is left
on it when the thread or the process ends aborts the process.
"""

import gc
import itertools
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import write_clip
from doubles.driving import python
from doubles.environment import environment

from tlee.errors import EngineError, InputError, UsageError
from tlee.policy import Thresholds
from tlee.runtime import BatchRecognizer, Recognizer
from tlee.runtime.tensorrt_backend import TensorRTBackend

PLATFORMS = [("8.2", "nano", "pycuda"), ("10", "desktop", "pycuda"), ("10", "orin", "cuda_python")]
LIBRARIES = [PLATFORMS[0], PLATFORMS[2]]
CLIPS = np.random.default_rng(0).integers(0, 256, (4, 4, 32, 32, 3), np.uint8)
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
RUN = [sys.executable, "-m", "tlee.runtime.cli"]

KINDS = [PLATFORMS[0], pytest.param(PLATFORMS[1], marks=pytest.mark.full), PLATFORMS[2]]
platforms = pytest.mark.parametrize("platform", KINDS, ids="-".join)
# What ends with the process or for want of memory, or shows of cuda-python what other tests show, too: PyCUDA's stack
# of contexts is the hard case.
LATER = [pytest.param(platform, marks=pytest.mark.full) for platform in PLATFORMS[1:]]
one_platform = pytest.mark.parametrize("platform", [PLATFORMS[0], *LATER], ids="-".join)


@pytest.fixture(scope="module")
def expected(lively):
    with Recognizer.load(lively, backend="cpu", thresholds=NEVER, threads=1) as recognizer:
        return [recognizer.recognize(clip).confidence for clip in CLIPS]


def opened(bundle, made, **options):
    return Recognizer.load(bundle, backend="tensorrt", engine_dir=made.folder, thresholds=NEVER, **options)


def in_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def check_answers(recognizer, expected):
    assert [recognizer.recognize(clip).confidence for clip in CLIPS] == pytest.approx(expected, abs=1e-5)


def keep_context(device):
    """Somebody else uses the GPU, too: so nothing goes only because the context does."""
    device.init()
    device.retain()


def left(device):
    """What somebody else would find that is still held; they hold the context once."""
    held = {"memory": device._memory, "page-locked": device._pinned, "events": device._events, "stack": device.stack}
    held["streams"] = [handle for handle in device._streams if handle]
    return {**{name: len(values) for name, values in held.items()}, "contexts": device.retained - 1}


NOTHING = dict.fromkeys(["memory", "page-locked", "events", "stack", "streams", "contexts"], 0)


# -- threads


@one_platform
def test_threads_use_one_recogniser_by_turns(engines, lively, expected, platform):
    made = engines(lively, *platform)
    recognizer = in_thread(opened, lively, made)
    check_answers(recognizer, expected)
    in_thread(check_answers, recognizer, expected)
    check_answers(recognizer, expected)
    in_thread(recognizer.close)


@platforms
def test_threads_that_ask_at_once_wait_for_each_other(engines, lively, expected, platform):
    made = engines(lively, *platform)
    with opened(lively, made) as recognizer, ThreadPoolExecutor(4) as pool:
        for answer in [pool.submit(check_answers, recognizer, expected) for _ in range(4)]:
            answer.result()


@one_platform
def test_recognisers_of_several_threads_work_at_once(engines, lively, expected, platform):
    made = engines(lively, *platform, milliseconds=1.0)
    together = threading.Barrier(2)

    def work():
        with opened(lively, made) as recognizer:
            together.wait()
            for _ in range(3):
                check_answers(recognizer, expected)

    with ThreadPoolExecutor(2) as pool:
        for answer in [pool.submit(work) for _ in range(2)]:
            answer.result()


@platforms
def test_a_thread_with_a_context_of_its_own_keeps_it(engines, lively, expected, platform):
    made = engines(lively, *platform)
    made.device.init()
    own = made.device.make_context()
    recognizer = opened(lively, made)
    recognizer.recognize(CLIPS[0])
    assert made.device.stack == [own]
    recognizer.close()
    assert made.device.stack == [own]
    made.device.stack.pop()


# -- closing


def by_hand(load):
    recognizer = load()
    recognizer.close()
    recognizer.close()


def in_a_block(load):
    with load():
        pass


def by_leaving_it(load):
    load()


def in_another_thread(load):
    in_thread(load().close)


def where_an_error_ends_it(load):
    with pytest.raises(ZeroDivisionError), load():
        1 / 0  # noqa: B018


ENDS = [by_hand, in_a_block, by_leaving_it, in_another_thread, where_an_error_ends_it]


@platforms
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_closing_gives_all_back(engines, lively, platform, end):
    made = engines(lively, *platform)
    keep_context(made.device)

    def load():
        recognizer = opened(lively, made)
        recognizer.recognize(CLIPS[0])
        return recognizer

    end(load)
    assert left(made.device) == NOTHING


@one_platform
@pytest.mark.parametrize("end", [by_hand, in_another_thread], ids=lambda end: end.__name__)
def test_closing_what_takes_several_videos_gives_all_back(engines, lively, platform, end):
    made = engines(lively, *platform, batch=3)
    keep_context(made.device)

    def load():
        recognizer = BatchRecognizer.load(lively, 3, backend="tensorrt", engine_dir=made.folder)
        assert len(list(recognizer.recognize(CLIPS))) == 4
        return recognizer

    end(load)
    assert left(made.device) == NOTHING


@one_platform
def test_what_is_closed_says_so(engines, lively, platform, clip):
    made = engines(lively, *platform)
    recognizer = opened(lively, made)
    batched = BatchRecognizer.load(lively, 1, backend="tensorrt", engine_dir=made.folder)
    recognizer.close(), batched.close()
    for use in (
        lambda: recognizer.recognize(CLIPS[0]),
        lambda: recognizer.recognize(clip, trace=True),
        lambda: list(recognizer.stream(str(clip))),
        lambda: list(batched.recognize([CLIPS[0], clip])),
        lambda: list(batched.stream([str(clip)])),
    ):
        with pytest.raises(UsageError, match="^recogniser: closed; load another one$"):
            use()
    assert not made.device.stack


def test_a_batch_that_is_left_in_the_middle_can_be_begun_again(engines, lively):
    made = engines(lively, batch=3)
    with BatchRecognizer.load(lively, 3, backend="tensorrt", engine_dir=made.folder) as recognizer:
        want = [answer.confidence for answer in recognizer.recognize(CLIPS)]
        for answer in recognizer.recognize(CLIPS):
            assert answer.confidence == want[0]
            break
        assert not made.device.stack
        assert [answer.confidence for answer in recognizer.recognize(CLIPS)] == want


# -- the end of the process

START = """
import sys, threading, time
import numpy as np
from tlee.runtime import BatchRecognizer, Recognizer
clip = np.zeros((4, 32, 32, 3), np.uint8)
BUNDLE, FOLDER = {bundle!r}, {folder!r}
def load(**options):
    recognizer = Recognizer.load(BUNDLE, "tensorrt", engine_dir=FOLDER, **options)
    recognizer.recognize(clip)
    return recognizer
"""
PROGRAMS = {
    "global": ("recognizer = load(); recognizer.me = recognizer", 0),
    "other thread": ("box = []; t = threading.Thread(target=lambda: box.append(load())); t.start(); t.join()", 0),
    "daemon": (
        "go = threading.Event()\n"
        "def work():\n"
        "    recognizer = load(prefetch=False)\n"
        "    while True:\n"
        "        recognizer.recognize(clip)\n"
        "        go.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "go.wait()",
        0,
    ),
    "error": ("recognizer = load(); 1 / 0", 1),
    "batch": (
        "recognizer = BatchRecognizer.load(BUNDLE, 1, 'tensorrt', engine_dir=FOLDER)\n"
        "answers = recognizer.recognize([clip, clip])\n"
        "next(answers)",
        0,
    ),
}


@one_platform
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_process_that_closes_nothing_ends_as_it_should(engines, lively, platform, program):
    made = engines(lively, *platform)
    code, status = PROGRAMS[program]
    release, device, cuda = platform
    start = START.format(bundle=lively.path, folder=made.folder)
    ended = python(start + code, release, device=device, cuda=cuda)
    said = ended.stderr.splitlines()
    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    if program == "error":
        assert said[0].startswith("Traceback") and said[-1].startswith("ZeroDivisionError")
        assert len([line for line in said if not line.startswith(" ")]) == 2
    elif program == "daemon":  # may be told that its recogniser is closed, as far as it gets
        assert "PyCUDA" not in ended.stderr and "CUDA failed" not in ended.stderr
    else:
        assert said == []


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        (LIBRARIES[0], []),
        (LIBRARIES[0], ["--batch", "2"]),
        pytest.param(LIBRARIES[1], [], marks=pytest.mark.full),
    ],
)
def test_an_interruption_is_one_line(engines, lively, platform, options, clip):
    release, device, cuda = platform
    made = engines(lively, *platform, batch=2)
    command = [*RUN, lively.path, *[str(clip)] * 5000, "--backend", "tensorrt", "--engine-dir", made.folder, *options]
    env = environment(release, device, cuda, milliseconds=1.0)
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() and process.stdout.readline()  # head and first result
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, "tlee-run: interrupted\n")


# -- errors in the middle


class Broken(Exception):
    pass


@one_platform
@pytest.mark.parametrize("prefetch", [False, True])
def test_a_video_that_fails_leaves_the_recogniser_as_it_was(engines, lively, expected, platform, prefetch, tmp_path):
    damaged = write_clip(tmp_path / "damaged.avi", frames=40, fourcc="MJPG")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 3 : 2 * len(content) // 3] = bytes(len(content) // 3 + 1)
    damaged.write_bytes(bytes(content))
    made = engines(lively, *platform)
    keep_context(made.device)
    with opened(lively, made, prefetch=prefetch) as recognizer:
        for _ in range(3):
            with pytest.raises(InputError, match=re.escape(str(damaged))):
                recognizer.recognize(damaged)
            assert not made.device.stack
            check_answers(recognizer, expected)
    assert left(made.device) == NOTHING


@platforms
@pytest.mark.parametrize("batch", [1, 2])
def test_an_engine_that_gives_nan_is_an_error_of_that_input(engines, lively, platform, batch, clip, monkeypatch):
    made = engines(lively, *platform, batch=batch)
    options = {"backend": "tensorrt", "engine_dir": made.folder, "thresholds": NEVER}
    bad = CLIPS[0].astype(np.float32)
    bad[2] = np.nan
    with Recognizer.load(lively, **options) as recognizer:
        want = recognizer.recognize(clip).confidence
        with pytest.raises(InputError, match="frames: the confidence at frame 2, exit 0 is not a number"):
            recognizer.recognize(bad)
        assert recognizer.recognize(clip).confidence == want
    with BatchRecognizer.load(lively, batch, **options) as recognizer:
        one, two, three = recognizer.recognize([clip, bad, clip])
        assert isinstance(two, InputError) and "frame 2, exit 0 is not a number" in str(two)
        assert [one.confidence, three.confidence] == pytest.approx([want] * 2, abs=1e-5)
    assert not made.device.stack


@one_platform
def test_an_error_anywhere_in_a_decision_leaves_the_recogniser_as_it_was(
    engines, lively, expected, platform, monkeypatch
):
    made = engines(lively, *platform)
    keep_context(made.device)
    with opened(lively, made) as recognizer:
        for name in ("run", "fetch", "wait", "mark", "milliseconds", "array", "frame", "should_speculate"):
            calls, method = itertools.count(), getattr(TensorRTBackend, name)

            def fails_the_second_time(*arguments, method=method, calls=calls, **options):
                if next(calls) == 1:
                    raise Broken
                return method(*arguments, **options)

            with monkeypatch.context() as patched, pytest.raises(Broken):
                patched.setattr(TensorRTBackend, name, fails_the_second_time)
                for clip in CLIPS:
                    recognizer.recognize(clip)
            assert not made.device.stack
            check_answers(recognizer, expected)
    gc.collect()
    assert left(made.device) == NOTHING


@one_platform
def test_memory_that_does_not_suffice_is_one_line_and_all_is_given_back(engines, shifted, platform):
    made = engines(shifted, *platform)
    device, free, failures = made.device, made.device.properties["free"], set()
    keep_context(device)
    with opened(shifted, made):
        needed = free - device.memory_info()[0]
    for enough in (int(needed * part) for part in (0.3, 0.95)):
        device.properties["free"] = enough
        with pytest.raises(
            EngineError, match="^GPU: no [0-9,]+ bytes of memory left|does not take the engine: "
        ) as error:
            opened(shifted, made)
        failures.add(str(error.value).split(":")[0])
        del error
        gc.collect()
        assert left(device) == NOTHING
    device.properties["free"] = needed
    opened(shifted, made).close()
    assert len(failures) == 2


@one_platform
@pytest.mark.parametrize("batch", [0, 1])
def test_memory_that_only_suffices_for_the_engines_is_given_back_too(engines, lively, platform, batch):
    made = engines(lively, *platform)
    device, free = made.device, made.device.properties["free"]
    keep_context(device)
    options = {"backend": "tensorrt", "engine_dir": made.folder}
    load = (lambda: BatchRecognizer.load(lively, 1, **options)) if batch else lambda: Recognizer.load(lively, **options)
    with load():
        needed = free - device.memory_info()[0]
    device.properties["free"] = needed - 1
    with pytest.raises(EngineError, match="^GPU: no [0-9,]+ bytes of memory left") as error:
        load()
    del error
    gc.collect()
    assert left(device) == NOTHING
