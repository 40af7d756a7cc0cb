"""Reading ahead: the next frame is decoded, prepared and uploaded in another thread while this one is computed."""

import contextlib
import itertools
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, Generator, Iterator, List, Optional

import numpy as np

from tlee.errors import InputError, TleeError
from tlee.frames import FrameSpec
from tlee.runtime.chain import Loaded, RunningRate
from tlee.runtime.clips import ClipRequest, unreadable
from tlee.runtime.live import StreamEnd

LIKELY = 0.5  # a frame is read ahead from this chance of being needed on: the thread costs others little
WORKERS = 2  # one may still be busy with a frame that the last video no longer needs
PATIENCE = 1.0  # seconds that closing waits; a frame of a camera takes some 0.03
END = object()  # after the last frame


class Background:
    """At most `count` threads, started when needed, that make calls in the order of submission.

    They are daemons, for calls into OpenCV or a driver, which cannot be interrupted and may never return: unlike those
    of `concurrent.futures`, they do not keep the process from ending then.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: List[threading.Thread] = []
        self._calls: queue.Queue[Any] = queue.Queue()
        self._closed = False

    def submit(self, function: Callable[[], Any]) -> "Optional[Future[Any]]":
        """Queue a call; None if this is closed, or the system gives it no thread at all."""
        if not self._closed and len(self._threads) < self._count:
            thread = threading.Thread(target=_work, args=(self._calls,), daemon=True)
            with contextlib.suppress(RuntimeError):  # the system has none left
                thread.start()
                self._threads.append(thread)
        if self._closed or not self._threads:
            return None
        future: Future[Any] = Future()
        self._calls.put((future, function))
        return future

    @property
    def calls_here(self) -> bool:
        """Whether the calling thread is one of these."""
        return threading.current_thread() in self._threads

    def close(self) -> None:
        """End the threads after the queued calls; does not wait for one that is stuck."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))


def _work(calls: "queue.Queue[Any]") -> None:
    for future, function in iter(calls.get, None):
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
        del future, function  # so that nothing is kept alive while it waits


class FrameReader:
    """Reads the frames of one video, ahead in a background thread after `start`. Whatever goes wrong with one is an
    `InputError` of that video.

    Args:
        request: its frames are closed with this.
        load: applied to each frame.
        workers: threads for reading ahead; None to read each frame when it is taken.
    """

    def __init__(
        self, request: ClipRequest, spec: FrameSpec, load: Callable = np.asarray, workers: Optional[Background] = None
    ) -> None:
        self._request, self._load, self._workers = request, load, workers
        self._shape = (spec.crop, spec.crop, 3)
        self._frames: Optional[Iterator[Any]] = None
        self._reading, self._loading = threading.Lock(), threading.Lock()
        self._closed = False
        self.pending: Optional[Future[Any]] = None  # the read that is under way in one of the threads

    def start(self) -> None:
        """Begin to read the next frame ahead, unless that is under way or there is no thread for it."""
        if self.pending is None and self._workers:
            self.pending = self._workers.submit(self._next)

    def take(self) -> Any:
        """The next loaded frame, or `END`. Raises what reading it raised."""
        pending, self.pending = self.pending, None
        # Where all workers are busy with frames that are no longer needed, it is read here.
        return self._next() if pending is None or pending.cancel() else pending.result()

    def close(self) -> None:
        """No frame is needed any more. Does not wait for one that is being read: it is discarded."""
        with self._loading:
            self._closed = True
        if self.pending is not None:
            self.pending.cancel()  # if it has not begun
        self._close_frames()

    def _next(self) -> Any:
        with self._reading:
            frame = self._read()
        with self._loading:  # a frame loaded after closing would overwrite the next video's
            if not self._closed:
                return END if frame is END else self._load(frame)
        self._close_frames()
        return END

    def _read(self) -> Any:
        source = self._request.source
        try:
            if self._frames is None:
                self._frames = iter(self._request.frames)
            frame: Any = next(self._frames, END)
        except (StreamEnd, TleeError):
            raise
        except Exception as error:
            raise unreadable(source, error) from error
        is_array = isinstance(frame, np.ndarray)
        if frame is END or is_array and frame.shape == self._shape and frame.dtype.kind in "uif":
            return frame
        found = f"{frame.dtype} array of shape {frame.shape}" if is_array else type(frame).__name__
        raise InputError(source, f"a frame is a {found}", f"give arrays of numbers of shape {self._shape}")

    def _close_frames(self) -> None:
        """A generator cannot be closed while it runs: the reading thread then closes it once the frame has come. So it
        need not be known who reads, even if an interrupt came before `start` had noted it."""
        if self._reading.acquire(False):
            try:
                with contextlib.suppress(Exception):  # irrelevant once there is an answer
                    getattr(self._request.frames, "close", int)()
            finally:
                self._reading.release()


def prefetched(reader: FrameReader, needed: RunningRate) -> "Generator[Loaded, None, None]":
    """The loaded frames of a video, each read ahead if the reader has threads and the frame is likely to be needed. How
    often the frame after each one was `needed` is learnt from this video, too."""
    t = 0
    try:
        for t in itertools.count():
            loaded = reader.take()
            if loaded is END:
                return
            if needed.of(t) >= LIKELY:
                reader.start()
            yield Loaded(loaded)
            needed.count(t, True)
    except GeneratorExit:
        needed.count(t, False)
        raise
