"""The next frame is made ready while another device computes one, and nobody waits for one that is no longer wanted."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tlee.bundle import FUSED, Bundle
from tlee.errors import InputError
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import Recognizer
from tlee.runtime.batch import BatchRecognizer
from tlee.runtime.chain import RunningRate, chain_of
from tlee.runtime.clips import ClipRequest
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.prefetch import END, WORKERS, Background, FrameReader, prefetched

CLIPS = np.random.default_rng(0).integers(0, 256, (6, 4, 32, 32, 3), np.uint8)
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
AT_ONCE = Thresholds.of(3, 0.0, 0.0)
PATIENCE = 120  # seconds, for what should come at once


class OnGpu(OnnxBackend):
    """A GPU as the host sees it.

    Args:
        waiting: called as often as the host waits, as if the GPU computed for so long.
    """

    def __init__(self, bundle, rows=1, waiting=lambda: None):
        super().__init__(bundle, 1, graphs=bundle.chain(), rows=rows)
        self.is_async, self._waiting = True, waiting

    def wait(self):
        self._waiting()
        return super().wait()


class Source:
    """A video whose frames come when they are let through; it notes what happens to it."""

    def __init__(self, frames=CLIPS[0], let_through=None, error=None):
        self.frames, self.let_through, self.error = frames, let_through or {}, error or {}
        self.begun = [threading.Event() for _ in range(len(frames) + 1)]
        self.read = 0
        self.waited_in_vain = False
        self.closed = threading.Event()

    def request(self):
        return ClipRequest("source", self._frames(), list(range(len(self.frames))), None, time.perf_counter())

    def _frames(self):
        try:
            for t, frame in enumerate(self.frames):
                self.begun[t].set()
                if t in self.let_through and not self.let_through[t].wait(PATIENCE):
                    self.waited_in_vain = True
                if t in self.error:
                    raise InputError("source", f"frame {t} cannot be decoded", "copy it again")
                self.read += 1
                yield frame
        finally:
            self.closed.set()


@pytest.fixture(scope="module")
def bundle(small_bundle):
    return Bundle.open(small_bundle)


def opened(bundle, thresholds=NEVER, prefetch=True, frames=4, early_exit=True, **options):
    policy = exit_policy("gm", frames, thresholds, early_exit)
    return Recognizer(bundle, chain_of(bundle, OnGpu(bundle, **options), FUSED), policy, prefetch)


def recognize(recognizer, source):
    return recognizer.recognize(source.request())


def stops_at(recognizer, thresholds):
    recognizer.policy = exit_policy("gm", 4, thresholds)


def test_the_next_frame_is_read_while_one_is_computed(bundle):
    source, frame = Source(), [-1]

    def waiting():
        begun = source.begun[recognizer._chain._frame + 1]
        assert recognizer._chain._frame == 3 or begun.wait(PATIENCE)
        frame[0] = recognizer._chain._frame

    with opened(bundle, waiting=waiting) as recognizer:
        assert recognize(recognizer, source).exit_frame == 3
    assert frame == [3] and source.read == 4 and source.closed.is_set()


def test_so_it_is_where_several_videos_are_computed_at_once(bundle):
    source, rounds = Source(), [0]

    def waiting():
        frame, rounds[0] = rounds[0] // 3, rounds[0] + 1  # three splits for each
        assert frame == 3 or source.begun[frame + 1].wait(PATIENCE)

    policy = exit_policy("gm", 4, NEVER, early_exit=False)
    with BatchRecognizer(bundle, OnGpu(bundle, rows=2, waiting=waiting), policy, 2) as recognizer:
        (answer,) = recognizer.recognize([source.request()])
    assert answer.exit_frame == 3 and (source.read, rounds) == (4, [12])


@pytest.mark.parametrize("is_async", [True, False], ids=["switched off", "on the CPU"])
def test_else_no_frame_is_read_before_it_is_wanted(bundle, is_async):
    source, seen = Source(), []
    backend = OnGpu(bundle, waiting=lambda: seen.append((recognizer._chain._frame, source.read)))
    backend.is_async = is_async
    policy = exit_policy("gm", 4, NEVER)
    with Recognizer(bundle, chain_of(bundle, backend, FUSED), policy, prefetch=not is_async) as recognizer:
        recognize(recognizer, source)
    assert len(seen) == 10 and all(read == frame + 1 for frame, read in seen)


def test_answers_are_the_same(bundle):
    with Recognizer.load(bundle, thresholds=NEVER, threads=1) as recognizer:
        steps = [s for clip in CLIPS for s in recognizer.recognize(clip, trace=True).trace]
    middle = [float(np.median([s.confidence for s in steps if s.exit == b])) for b in range(3)]
    for thresholds in (NEVER, AT_ONCE, Thresholds.of(3, middle, middle), Thresholds.of(3, 2.0, middle, 2.0)):
        answers = []
        for prefetch in (False, True):
            with opened(bundle, thresholds, prefetch) as recognizer:
                results = [recognizer.recognize(clip) for clip in CLIPS]
            steps = [(f.exit_layer, f.reason, f.confidence) for result in results for f in result.frames]
            answers.append((steps, [(result.label, result.confidence, result.exit_frame) for result in results]))
        assert answers[0] == answers[1]


def test_a_stopped_video_waits_for_no_frame_that_is_being_read(bundle):
    held = threading.Event()
    stuck = [Source(let_through={1: held}) for _ in range(4)]
    read_meanwhile = []  # on a busy machine, the first frame might be answered before a thread begins with the second
    with opened(bundle, waiting=lambda: [s.begun[1].wait(PATIENCE) for s in read_meanwhile]) as recognizer:
        for _ in range(10):  # its second frame is likely wanted
            recognize(recognizer, Source())
        stops_at(recognizer, AT_ONCE)
        for i, source in enumerate(stuck):
            read_meanwhile[:] = [source] if i < 2 else []
            assert recognize(recognizer, source).exit_frame == 0
        assert all(source.begun[1].wait(PATIENCE) for source in stuck[:2])
        assert not any(source.closed.is_set() for source in stuck[:2])
        stops_at(recognizer, NEVER)
        whole = Source(CLIPS[1])
        assert recognize(recognizer, whole).exit_frame == 3 and whole.read == 4  # whatever is stuck
        held.set()
        assert all(source.closed.wait(PATIENCE) for source in [*stuck, whole])
    assert not any(source.waited_in_vain for source in stuck)
    assert [source.read for source in stuck] == [2, 2, 1, 1]  # those that no thread had begun to read are not read


def test_several_at_once_wait_for_no_frame_that_is_being_read(bundle):
    held = threading.Event()
    stuck = [Source(let_through={1: held}) for _ in range(2)]
    policy = exit_policy("gm", 4, AT_ONCE)
    with BatchRecognizer(bundle, OnGpu(bundle, rows=2), policy, 2) as recognizer:
        # Taken while the first frames are read: both are read on ahead.
        first = list(recognizer.recognize(source.request() for source in stuck))
        assert [answer.exit_frame for answer in first] == [0, 0]
        assert not any(source.closed.is_set() for source in stuck if source.begun[1].is_set())
        more = [Source(clip) for clip in CLIPS]
        assert [answer.exit_frame for answer in recognizer.recognize(s.request() for s in more)] == [0] * 6
        held.set()
    assert all(source.closed.wait(PATIENCE) for source in stuck + more)
    assert not any(source.waited_in_vain for source in stuck)


def test_what_a_dropped_video_brings_is_not_loaded(bundle):
    spec = bundle.frames
    held, loaded = threading.Event(), []
    workers, needed = Background(WORKERS), RunningRate()
    load = lambda frame: loaded.append(int(frame[0, 0, 0])) or frame  # noqa: E731
    frames = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1).repeat(32, 1).repeat(32, 2).repeat(3, 3)
    late, following = Source(frames[:4], let_through={1: held}), Source(frames[4:])
    reader = FrameReader(late.request(), spec, load, workers)
    taken = prefetched(reader, needed)
    next(taken)
    assert late.begun[1].wait(PATIENCE)
    taken.close(), reader.close()
    others = prefetched(FrameReader(following.request(), spec, load, workers), needed)
    next(others), next(others)
    held.set()
    assert late.closed.wait(PATIENCE) and late.read == 2
    others.close()
    workers.close()
    assert loaded[:3] == [0, 4, 5] and 1 not in loaded


def test_a_video_is_dropped_while_a_thread_reads_that_nobody_noted(bundle):
    """As where an interrupt comes between starting to read and noting it."""
    held = threading.Event()
    source = Source(let_through={0: held})
    reader = FrameReader(source.request(), bundle.frames)
    with ThreadPoolExecutor(1) as readers:
        read = readers.submit(reader.take)
        assert source.begun[0].wait(PATIENCE)
        reader.close()
        assert not source.closed.is_set()
        held.set()
        assert read.result(PATIENCE) is END and source.closed.is_set()


def test_of_videos_that_always_stop_in_the_first_frame_nothing_is_read_ahead(bundle):
    with opened(bundle, AT_ONCE) as recognizer:
        for _ in range(20):
            recognize(recognizer, Source())
        last = Source()
        recognize(recognizer, last)
        assert last.closed.is_set() and last.read == 1 and not last.begun[1].is_set()
        stops_at(recognizer, NEVER)
        for _ in range(30):
            recognize(recognizer, Source())
        assert recognizer._needed.of(0) > 0.8


def test_what_cannot_be_read_is_the_error_of_its_video_where_the_frame_is_wanted(bundle):
    with opened(bundle) as recognizer:
        for t in range(4):
            source = Source(error={t: True})
            with pytest.raises(InputError, match=f"source: frame {t} cannot"):
                recognize(recognizer, source)
            assert source.closed.is_set()
        stops_at(recognizer, AT_ONCE)
        source = Source(error={1: True})
        assert recognize(recognizer, source).exit_frame == 0  # nobody wanted that frame
    with BatchRecognizer(bundle, OnGpu(bundle, rows=2), exit_policy("gm", 4, NEVER), 2) as recognizer:
        sources = [Source(error={t: True}) if t < 4 else Source() for t in (4, 0, 3, 4, 1, 4)]
        answers = list(recognizer.recognize(source.request() for source in sources))
    said = [str(a)[:22] if isinstance(a, InputError) else a.exit_frame for a in answers]
    assert said == [3, "source: frame 0 cannot", "source: frame 3 cannot", 3, "source: frame 1 cannot", 3]


def test_no_thread_is_left_once_it_is_closed(bundle):
    before = set(threading.enumerate())
    recognizer = opened(bundle)
    several = BatchRecognizer(bundle, OnGpu(bundle, rows=3), exit_policy("gm", 4, NEVER), 3)
    recognize(recognizer, Source())
    assert len(list(several.recognize(CLIPS))) == 6
    assert set(threading.enumerate()) > before
    recognizer.close(), several.close()
    assert set(threading.enumerate()) <= before
    recognizer = opened(bundle)
    recognize(recognizer, Source())
    del recognizer
    assert set(threading.enumerate()) <= before
