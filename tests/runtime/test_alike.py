"""Whatever is given, and however it fails: several at once answer as one at a time does, and no answer is lost."""

import os
import random
import threading
import time

import numpy as np
import pytest
from conftest import write_clip

from tlee.errors import InputError, TleeError, UsageError
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import BatchRecognizer, Recognizer
from tlee.runtime.chain import chain_of
from tlee.runtime.clips import ClipRequest
from tlee.runtime.onnx_backend import OnnxBackend

NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
CLIPS = np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), np.uint8)
PATIENCE = 120  # seconds, for what should come at once


def task(frames, indices=(0, 1, 2, 3)):
    return ClipRequest("mine", frames, list(indices), None, time.perf_counter())


def breaking(error, after=2):
    yield from CLIPS[0][:after]
    raise error


def closing_badly():
    try:
        yield from CLIPS[0]
    finally:
        raise ValueError("in its end")


class Pathless(os.PathLike):
    def __fspath__(self):
        raise ValueError("of mine")


INPUTS = {  # each makes an input anew: iterators are read once
    "whole": lambda: CLIPS[1],
    "short": lambda: task(iter(CLIPS[2][:2])),
    "one frame": lambda: task(iter(CLIPS[3][:1])),
    "empty": lambda: task(iter(())),
    "a list": lambda: task(list(CLIPS[4])),
    "long": lambda: task(iter(np.concatenate([CLIPS[4], CLIPS[5]]))),
    "few indices": lambda: task(iter(CLIPS[4]), [3]),
    "raises": lambda: task(breaking(ValueError("of mine"))),
    "raises at once": lambda: task(breaking(OSError(5, "Input/output error"), 0)),
    "no memory": lambda: task(breaking(MemoryError())),
    "breaks off": lambda: task(breaking(InputError("mine", "breaks off", "copy it again"))),
    "stops itself": lambda: task(breaking(StopIteration())),
    "closes badly": lambda: task(closing_badly()),
    "wrong size": lambda: task(iter(np.zeros((4, 8, 8, 3), np.uint8))),
    "would be stretched": lambda: task(iter(np.zeros((4, 1, 1, 3), np.uint8))),
    "no numbers": lambda: task(iter(np.full((4, 32, 32, 3), None))),
    "no frames": lambda: task(iter([None] * 4)),
    "no iterator": lambda: task(5),
    "not a number": lambda: np.where(CLIPS[1] > 128, np.nan, CLIPS[1]).astype(np.float32),
    "array of 8 pixels": lambda: np.zeros((4, 8, 8, 3), np.uint8),
    "array of doubles": lambda: CLIPS[1].astype(np.float64),
    "array of nothing": lambda: np.zeros(0, np.uint8),
    "generator": lambda: breaking(ValueError()),
    "none": lambda: None,
    "number": lambda: 5,
    "missing": lambda: "/none/a.mp4",
    "zero byte": lambda: "a\0b.mp4",
    "half a pair": lambda: "\ud800.mp4",
    "empty name": lambda: "",
    "path that is none": lambda: Pathless(),
}


@pytest.fixture(scope="module")
def singly(lively):
    with Recognizer.load(lively, backend="cpu", thresholds=NEVER, threads=1) as recognizer:
        yield recognizer


@pytest.fixture(scope="module")
def alone(singly):
    """What each input is answered alone."""
    found = {}
    for name, make in INPUTS.items():
        try:
            found[name] = singly.recognize(make())
        except InputError as error:
            found[name] = error
    return found


def batched(lively, rows, is_async=False, thresholds=NEVER):
    backend = OnnxBackend(lively, 1, graphs=lively.chain(), rows=rows)
    backend.is_async = is_async  # then frames are read in other threads
    return BatchRecognizer(lively, backend, exit_policy("gm", 4, thresholds), rows)


def answered(answer):
    if isinstance(answer, Exception):
        return str(answer)
    frames = [(f.video_frame, f.exit_layer, f.reason, pytest.approx(f.confidence, abs=1e-5)) for f in answer.frames]
    return answer.source, answer.label, answer.exit_frame, answer.exit_layer, answer.reason, answer.warning, frames


def test_alone_each_is_an_answer_or_one_line(alone):
    errors = {name: str(answer) for name, answer in alone.items() if isinstance(answer, InputError)}
    assert set(INPUTS) - set(errors) == {
        "whole", "short", "one frame", "a list", "long", "few indices", "closes badly"
    }  # fmt: skip
    assert all("\n" not in line and "; " in line for line in errors.values())
    assert alone["short"].warning.startswith("its frames end after 2 of 4: ") and alone["whole"].warning is None
    assert "(ValueError: of mine)" in errors["raises"] and "not enough memory" in errors["no memory"]
    assert (
        "Input/output error" in errors["raises at once"]
        and errors["empty"] == "mine: it gave no frame; give one that has some"
    )


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("seed", [*range(3), *[pytest.param(seed, marks=pytest.mark.full) for seed in range(3, 200)]])
def test_in_any_mixture_each_is_answered_as_alone_and_in_order(lively, alone, seed, is_async):
    drawn = random.Random(seed)
    names = drawn.choices(list(INPUTS), k=40)
    with batched(lively, drawn.choice([1, 2, 3, 5]), is_async) as recognizer:
        found = list(recognizer.recognize(INPUTS[name]() for name in names))
    assert [answered(answer) for answer in found] == [answered(alone[name]) for name in names]


def test_what_gives_the_clips_fails_after_the_answers_of_those_before(lively, alone):
    def clips():
        yield from CLIPS[:3]
        raise ZeroDivisionError

    with batched(lively, 2) as recognizer:
        found = []
        with pytest.raises(ZeroDivisionError):
            for answer in recognizer.recognize(clips()):
                found.append(answer)
        assert len(found) == 3
        assert len(list(recognizer.recognize(CLIPS))) == 6


def test_clips_that_all_fail_are_answered_before_all_were_taken(lively):
    with batched(lively, 2) as recognizer:
        answers = recognizer.recognize(iter(lambda: "/none/a.mp4", None))  # without an end
        assert all("no such file" in str(next(answers)) for _ in range(10))


# -- asked from within


def asking(ask):
    """Frames of a video that asks something of its own recogniser meanwhile."""
    yield CLIPS[0][0]
    ask()
    yield from CLIPS[0][1:]


def within_time(function):
    """What a function returns or raises, or a failure where it does not come back."""
    outcome = []

    def call():
        try:
            outcome.append(function())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, "it waits for itself"
    return outcome[0]


@pytest.mark.parametrize("is_async", [False, True], ids=["read here", "read in another thread"])
@pytest.mark.parametrize("what", ["recognize", "close", "stream"])
def test_a_recogniser_asked_within_its_own_frames_says_so(lively, what, is_async, clip):
    backend = OnnxBackend(lively, 1, graphs=lively.chain())
    backend.is_async = is_async
    recognizer = Recognizer(lively, chain_of(lively, backend, "fused"), exit_policy("gm", 4, NEVER))
    asks = {
        "recognize": lambda: recognizer.recognize(CLIPS[1]),
        "close": recognizer.close,
        "stream": lambda: list(recognizer.stream(str(clip), seconds=0.4)),
    }
    expected = recognizer.recognize(CLIPS[1]).confidence
    error = within_time(lambda: recognizer.recognize(task(asking(asks[what]))))
    assert isinstance(error, UsageError) and "from within the frames" in str(error)
    assert recognizer.recognize(CLIPS[1]).confidence == expected
    recognizer.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["read here", "read in another thread"])
@pytest.mark.parametrize("what", ["recognize", "close", "next"])
def test_so_does_one_for_several_videos(lively, what, is_async):
    recognizer = batched(lively, 2, is_async)
    asks = {
        "recognize": lambda: list(recognizer.recognize(CLIPS)),
        "close": recognizer.close,
        "next": lambda: next(answers),
    }
    answers = recognizer.recognize([CLIPS[1], task(asking(asks[what])), CLIPS[2]])
    found = within_time(lambda: list(answers))
    if what == "next":
        assert len(found) == 3 and "already executing" in str(found[1])
    else:
        assert isinstance(found, UsageError)
    answers.close()
    assert len(list(recognizer.recognize(CLIPS))) == 6
    recognizer.close()


def test_from_another_thread_meanwhile_it_is_refused(lively):
    with batched(lively, 2) as recognizer:
        for _ in recognizer.recognize(CLIPS):
            error = within_time(lambda: list(recognizer.recognize(CLIPS)))
            assert isinstance(error, UsageError) and "already recognises" in str(error)


def test_of_many_threads_that_ask_at_once_one_is_answered_and_the_others_are_told(lively):
    with batched(lively, 2) as recognizer:
        together, outcomes = threading.Barrier(8), []

        def ask():
            together.wait()
            try:
                outcomes.append(len(list(recognizer.recognize(CLIPS))))
            except TleeError as error:
                outcomes.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert len(outcomes) == 8 and 6 in outcomes
        assert all(o == 6 or o.startswith("batch recogniser: already recognises") for o in outcomes)


def test_closed_between_two_answers_it_says_so(lively):
    recognizer = batched(lively, 2)
    answers = recognizer.recognize(CLIPS)
    next(answers)
    recognizer.close()
    with pytest.raises(UsageError, match="recogniser: closed"):
        list(answers)


# -- interrupted anywhere


class Interrupting(OnnxBackend):
    """A backend that is interrupted at the `countdown`-th thing that it is asked."""

    countdown = -1

    def tick(self):
        self.countdown -= 1
        if self.countdown == 0:
            raise KeyboardInterrupt


for _name in ("run", "fetch", "wait", "mark", "milliseconds", "array", "copy_row", "send", "frame"):

    def _interrupted(self, *arguments, _name=_name, **options):
        self.tick()
        return getattr(OnnxBackend, _name)(self, *arguments, **options)

    setattr(Interrupting, _name, _interrupted)


def interrupted_frames(backend):
    for frame in CLIPS[0]:
        backend.tick()
        yield frame


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
def test_after_an_interrupt_at_any_moment_it_answers_as_before(lively, rows, is_async):
    backend = Interrupting(lively, 1, graphs=lively.chain(), rows=rows)
    backend.is_async = is_async
    clips = lambda: [CLIPS[1], task(interrupted_frames(backend)), CLIPS[2]]  # noqa: E731
    with BatchRecognizer(lively, backend, exit_policy("gm", 4, NEVER), rows) as recognizer:
        expected = [answered(answer) for answer in recognizer.recognize(clips())]
        moments = 0
        for countdown in range(1, 400, 17):
            backend.countdown = countdown
            try:
                list(recognizer.recognize(clips()))
                break
            except KeyboardInterrupt:
                moments += 1
            assert [answered(answer) for answer in recognizer.recognize(clips())] == expected
        assert moments > 5


def test_so_does_one_that_takes_one_at_a_time(lively, singly):
    backend = Interrupting(lively, 1, graphs=lively.chain())
    with Recognizer(lively, chain_of(lively, backend, "fused"), exit_policy("gm", 4, NEVER)) as recognizer:
        expected = answered(recognizer.recognize(CLIPS[1]))
        for countdown in range(1, 30):
            backend.countdown = countdown
            with pytest.raises(KeyboardInterrupt):
                recognizer.recognize(task(interrupted_frames(backend)))
            assert answered(recognizer.recognize(CLIPS[1])) == expected


def test_a_stuck_reader_holds_up_neither_an_interrupt_nor_closing(lively, monkeypatch):
    held = threading.Event()

    def stuck():
        yield CLIPS[0][0]
        held.wait(PATIENCE)
        yield CLIPS[0][1]

    started = time.monotonic()
    with batched(lively, 2, is_async=True) as recognizer:
        answers = recognizer.recognize([task(stuck()), CLIPS[1]])
        monkeypatch.setattr("tlee.runtime.batch.wait", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(answers)
    assert time.monotonic() - started < PATIENCE / 2
    held.set()


def test_where_the_system_gives_no_thread_frames_are_read_here(lively, alone, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    names = ["whole", "short", "raises", "missing"]
    with batched(lively, 2, is_async=True) as recognizer:
        found = list(recognizer.recognize(INPUTS[name]() for name in names))
    assert [answered(answer) for answer in found] == [answered(alone[name]) for name in names]
    backend = OnnxBackend(lively, 1, graphs=lively.chain())
    backend.is_async = True
    with Recognizer(lively, chain_of(lively, backend, "fused"), exit_policy("gm", 4, NEVER)) as recognizer:
        assert answered(recognizer.recognize(CLIPS[1])) == answered(alone["whole"])


def test_files_that_break_off_are_answered_as_alone(lively, singly, tmp_path):
    broken = write_clip(tmp_path / "broken.avi", frames=40, size=(192, 48), fourcc="MJPG")
    whole = broken.read_bytes()
    broken.write_bytes(whole[: 3 * len(whole) // 4])
    short = write_clip(tmp_path / "short.avi", frames=2, fourcc="MJPG")
    with pytest.raises(InputError, match="breaks off"):
        singly.recognize(broken)
    with batched(lively, 3) as recognizer:
        error, warned, last = recognizer.recognize([broken, short, CLIPS[1]])
    assert "breaks off" in str(error) and "has 2 frames" in warned.warning
    assert answered(last) == answered(singly.recognize(CLIPS[1]))
