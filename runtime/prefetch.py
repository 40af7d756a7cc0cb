"""The next frame decoded, prepared and uploaded in another thread, while this one is computed."""

import threading
from concurrent.futures import Future
from typing import Any, Callable, Iterator, Optional

from tlee.runtime.background import Background
from tlee.runtime.chain import Loaded
from tlee.runtime.running_rate import RunningRate

LIKELY = 0.5  # the chance of being wanted from which a frame is made ready: the thread costs others little
# One may still be busy with a frame that the last video no longer wanted.
WORKERS = 2
END = object()  # after the last frame


class Frames:
    """The frames of one video, asked for from any thread, one after the other.

    Args:
        frames: a generator is closed with this.
        load: what is made of a frame.
    """

    def __init__(self, frames: Iterator[Any], load: Callable[[Any], Any]) -> None:
        self._frames, self._load = frames, load
        self._reading, self._loading = threading.Lock(), threading.Lock()
        self._wanted = True

    def next(self) -> Any:
        """The next frame, or `END`."""
        with self._reading:
            frame = next(self._frames, END)
        with self._loading:  # what is loaded after the video was dropped would take the next video's place
            if self._wanted:
                return END if frame is END else self._load(frame)
        self._close()
        return END

    def drop(self, pending: "Optional[Future[Any]]") -> None:
        """No frame is wanted any more, also not the one that `pending` brings. Waits for no reading."""
        with self._loading:
            self._wanted = False
        if pending is not None:
            pending.cancel()  # where it does not run yet
        self._close()

    def _close(self) -> None:
        """A generator cannot be closed while it runs: whoever reads then closes it when the frame has come. So nobody
        has to know who reads, not even an interrupt that came between starting to read and noting it."""
        if self._reading.acquire(False):
            try:
                getattr(self._frames, "close", int)()
            finally:
                self._reading.release()


class Prefetch:
    """Makes frames of one video after the other ready.

    Args:
        load: a frame into the first split's input; called from other threads, too.
    """

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self._load = load
        self._workers = Background(WORKERS)
        self._chances = RunningRate()

    def __call__(self, frames: Iterator[Any]) -> "Iterator[Loaded]":
        """The same frames, loaded. Closing the iterator does not wait for one that is being made ready: that is dropped
        when it comes, and then `frames` is closed."""
        video = Frames(frames, self._load)
        t = 0
        pending: Optional[Future[Any]] = None
        try:
            while True:
                # Where all workers are busy with what nobody wants any more, a frame is read here.
                loaded = video.next() if pending is None or pending.cancel() else pending.result()
                if loaded is END:
                    return
                likely = self._chances.of(t) >= LIKELY
                pending = submitted(self._workers, video.next) if likely else None
                wanted = False
                try:
                    yield Loaded(loaded)
                    wanted = True
                finally:
                    self._chances.count(t, wanted)
                t += 1
        finally:
            video.drop(pending)

    @property
    def reads_here(self) -> bool:
        """Whether this thread is one that makes frames ready."""
        return self._workers.calls_here

    def close(self) -> None:
        """End its threads; one that is stuck in reading loads nothing any more."""
        self._workers.close()


def submitted(workers: Background, read: Callable[[], Any]) -> "Optional[Future[Any]]":
    """What brings a frame; None where there is no thread for it, and whoever wants it reads it."""
    try:
        return workers.submit(read)
    except RuntimeError:
        return None
