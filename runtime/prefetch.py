"""Reading ahead: the next frame is decoded, prepared and uploaded in another thread while this one is computed."""

import threading
from concurrent.futures import Future
from typing import Any, Callable, Generator, Iterator, Optional

from tlee.runtime.background import Background
from tlee.runtime.chain import Loaded
from tlee.runtime.running_rate import RunningRate

LIKELY = 0.5  # a frame is read ahead from this chance of being needed on: the thread costs others little
WORKERS = 2  # one may still be busy with a frame that the last video no longer needs
END = object()  # after the last frame


class FrameReader:
    """Reads the frames of one video, ahead in a background thread where it is told to.

    Args:
        frames: a generator is closed with this.
        load: applied to each frame.
        workers: threads for reading ahead; None to read each frame when it is taken.

    Attributes:
        pending: the read that is under way in one of them.
    """

    def __init__(self, frames: Iterator[Any], load: Callable[[Any], Any], workers: Optional[Background] = None) -> None:
        self._frames, self._load, self._workers = frames, load, workers
        self._reading, self._loading = threading.Lock(), threading.Lock()
        self._closed = False
        self.pending: Optional[Future[Any]] = None

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
            frame = next(self._frames, END)
        with self._loading:  # a frame loaded after closing would overwrite the next video's
            if not self._closed:
                return END if frame is END else self._load(frame)
        self._close_frames()
        return END

    def _close_frames(self) -> None:
        """A generator cannot be closed while it runs: the reading thread then closes it once the frame has come. So it
        need not be known who reads, even if an interrupt came before `start` had noted it."""
        if self._reading.acquire(False):
            try:
                getattr(self._frames, "close", int)()
            finally:
                self._reading.release()


def prefetched(
    frames: Iterator[Any], load: Callable[[Any], Any], workers: Background, needed: RunningRate
) -> "Generator[Loaded, None, None]":
    """The frames of one video, loaded, each read ahead where that is likely to pay. Closing this does not wait for a
    read that is under way; `frames` are closed after it.

    Args:
        load: turns a frame into the first split's input; called from other threads, too.
        needed: how often the frame after each one was needed; learns it from this video.
    """
    reader, t = FrameReader(frames, load, workers), 0
    try:
        while True:
            loaded = reader.take()
            if loaded is END:
                return
            if needed.of(t) >= LIKELY:
                reader.start()
            asked = False
            try:
                yield Loaded(loaded)
                asked = True
            finally:
                needed.count(t, asked)
            t += 1
    finally:
        reader.close()
