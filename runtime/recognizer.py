"""The recogniser: opens a bundle once, then recognises one video after another."""

import contextlib
import threading
from typing import Any, Iterator, List, Optional

from tlee.bundle import Bundle
from tlee.errors import InputError, SegmentError, UsageError
from tlee.inference import Step, exit_steps
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backends import AUTO, BackendConfig
from tlee.runtime.base import RecognizerBase, opened
from tlee.runtime.chain import Chain, chain_of
from tlee.runtime.clips import Clip, ClipRequest, clip_request, windows
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.prefetch import WORKERS, FrameReader, prefetched
from tlee.runtime.results import Result, Timed, TraceStep, no_frame


class Recognizer(RecognizerBase):
    """Recognises videos with an exported bundle, one at a time. Any thread may use it; others wait meanwhile. Threads
    that are to work concurrently load one each.

    Args:
        bundle: what is run.
        chain: its backend stays the caller's to close; `load` opens one of its own.
        policy: when frames leave and videos stop.
        prefetch: see `load`.

    Examples:
        >>> with Recognizer.load("build/digits.tlee", backend="cpu") as recognizer:
        ...     result = recognizer.recognize("examples/clips/digit0_easy_00010.mp4")
        >>> result.label, round(result.confidence, 2)
        ('0', 1.0)
        >>> result.exit_frame, result.exit_layer, result.reason  # frames and exits count from 0
        (2, 1, 'gate')
        >>> [frame.video_frame for frame in result.frames]  # all that was looked at
        [13, 1, 22]
    """

    def __init__(self, bundle: Bundle, chain: Chain, policy: ExitPolicy, prefetch: bool = True) -> None:
        super().__init__(bundle, chain.backend, policy, prefetch, WORKERS)
        self._chain = chain
        self._lock, self._owner = threading.Lock(), 0  # the thread that recognises

    @classmethod
    def load(
        cls,
        path: Any,
        backend: str = AUTO,
        thresholds: Optional[Thresholds] = None,
        point: Optional[str] = None,
        early_exit: bool = True,
        speculate: bool = True,
        prefetch: bool = True,
        sampling: Optional[str] = None,
        **options: Any,
    ) -> "Recognizer":
        """Open a bundle.

        Args:
            path: the bundle's folder, or an open `Bundle`.
            backend, options: see `tlee.runtime.backends.BackendConfig`.
            thresholds: instead of the bundle's.
            point: a named operating point of the bundle, such as "balanced".
            early_exit: False computes every frame to the tail.
            speculate: queue splits before it is known that they are needed, where that pays. Changes no answer.
            prefetch: read the next frame while one is computed, where that pays. Changes no answer.
            sampling: which frames of videos are read, of `tlee.frames.SAMPLINGS`, instead of the bundle's.

        Raises:
            BundleError: not a bundle, or its files are not those of its manifest.
            EngineError: there are no engines for this device, or they do not work.
            UsageError: unknown backend, operating point, precision or sampling, thresholds for another number of exits.
        """
        config = BackendConfig(backend, **options)
        with opened(path, config, thresholds, point, early_exit, sampling) as (bundle, handle, policy):
            recognizer = cls(bundle, chain_of(bundle, handle.backend, handle.exit_graphs, speculate), policy, prefetch)
            recognizer._closers.append(handle.backend.close)
        recognizer.notes = handle.notes
        return recognizer

    def close(self) -> None:
        with self._exclusive():
            self._close()

    def recognize(self, clip: Clip, trace: bool = False) -> Result:
        """Recognise one video.

        Args:
            clip: a video file, a folder of pictures, or the frames themselves: (T, H, W, 3) uint8 or float32
                RGB 0-255, already in processing order; or a `tlee.runtime.clips.ClipRequest`, for callers that decode
                frames themselves.
            trace: keep every step with its logits and z.

        Raises:
            InputError: the clip cannot be read, or a segment gave NaN for it.
            UsageError: this is closed, or called from within the frames of a video that it recognises.
        """
        return self._recognize(clip_request(clip, self.bundle.frames, self.decodes_ahead), self._prefetch, trace)

    def stream(self, address: str, seconds: float = 2.0) -> Iterator[Result]:
        """Recognise a live source window by window, until it ends.

        Frames are taken as they come, whatever order the model was trained with; once a window is answered, the
        rest of it passes without being decoded. A window that the source cuts short gives no result.

        Args:
            address: `csi://0`, `v4l2:///dev/video0`, `rtsp://...`, `file://...` or a plain path.
            seconds: length of a window.

        Raises:
            InputError: the source cannot be opened, or a segment gave NaN.
            UsageError: this is closed.

        Examples:
            >>> with Recognizer.load("build/digits.tlee", backend="cpu") as recognizer:
            ...     for result in recognizer.stream("file://examples/clips/digit0_easy_00010.mp4", seconds=1.0):
            ...         print(result.label, [frame.video_frame for frame in result.frames])
            0 [0]
            0 [10]
            0 [20]
        """
        with LiveSource(address) as live:
            for request in windows(live, self.bundle.frames, seconds):
                try:
                    result = self._recognize(request, prefetch=False)  # its frames come when they come
                except StreamEnd:
                    return
                yield result

    def _recognize(self, request: ClipRequest, prefetch: bool, trace: bool = False) -> Result:
        steps: List[Timed] = []
        traced: List[TraceStep] = []
        with self._exclusive():
            self._check_open()
            reader = FrameReader(request, self.bundle.frames, self._chain.load, self._readers if prefetch else None)
            frames = prefetched(reader, self._needed)
            try:
                with contextlib.closing(reader), contextlib.closing(frames), self._backend:
                    for step in exit_steps(self._chain, frames, self.policy):
                        steps.append((step, self._backend.milliseconds()))
                        if trace:  # now: the next steps use the same buffers
                            traced.append(self._traced(step))
                    if not steps:
                        raise no_frame(request)
                    logits = self._chain.array(steps[-1][0].values.logits)[0]
            except SegmentError as error:
                raise InputError(request.source, error.problem, error.remedy) from None
        return self._result(request, steps, logits, traced)

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Waits while another thread recognises. To wait for this thread itself, or to wait in a thread that reads a
        frame for the one that needs it, would never end: that is an error."""
        if self._readers.calls_here or (self._lock.locked() and self._owner == threading.get_ident()):
            raise UsageError("recogniser", "asked from within the frames that it reads", "load another one for that")
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0

    def _traced(self, step: Step) -> TraceStep:
        values, (action, reason) = step.values, step.decision
        logits, z = (self._chain.array(value)[0] for value in (values.logits, values.z))
        return TraceStep(step.frame, step.exit, logits, values.confidence, values.score, z, action.value, reason.value)
