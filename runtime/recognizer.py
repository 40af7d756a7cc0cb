"""The recogniser: opens a bundle once, then answers for video after video."""

import os
import time
from typing import Any, Iterable, Iterator, List, Optional, Union

import numpy as np

from tlee.bundle import Bundle
from tlee.costs import Costs, frame_ends
from tlee.errors import InputError, SegmentError, UsageError
from tlee.frames import check_clip
from tlee.inference import Step, walk
from tlee.policy import ExitPolicy, Thresholds, exit_policy
from tlee.runtime.chain import Chain
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.results import Frame, Result, TraceStep
from tlee.video import open_clip, read_frames, sampled_order

BACKENDS = ("auto", "cpu")
Clip = Union[str, "os.PathLike[str]", np.ndarray]


class Recognizer:
    """Recognises videos with an exported bundle, one at a time: threads load one each.

    Example:
        recognizer = Recognizer.load("digits.tlee")
        result = recognizer.recognize("video.mp4")
        print(result.label, result.confidence, result.exit_frame, result.exit_layer)
    """

    def __init__(self, bundle: Bundle, chain: Chain, policy: ExitPolicy) -> None:
        self.bundle = bundle
        self.policy = policy
        self._chain = chain
        self._costs = Costs({name: segment.macs for name, segment in bundle.segments.items()})
        self.full_macs = self._costs.full(bundle.frames.length)

    @classmethod
    def load(
        cls,
        path: Any,
        backend: str = "auto",
        thresholds: Optional[Thresholds] = None,
        point: Optional[str] = None,
        early_exit: bool = True,
        threads: Optional[int] = None,
        shared_pool: bool = False,
        precision: str = "fp32",
    ) -> "Recognizer":
        """Open a bundle.

        Args:
            path: the bundle's folder, or an open `Bundle`.
            backend: "auto" or "cpu" (ONNX Runtime).
            thresholds: instead of the bundle's.
            point: a named operating point of the bundle.
            early_exit: False computes every frame to the tail.
            threads: CPU threads, None for all cores.
            shared_pool: one ONNX Runtime thread pool for the process, see `tlee.runtime.onnx_backend.open_session`.
            precision: "fp32", or "int8" and "fp16" for the forms that tlee-calibrate and tlee-export --forms made.

        Raises:
            BundleError: no bundle, or not what its manifest says.
            UsageError: unknown backend, operating point or precision, thresholds for another number of exits.
        """
        if backend not in BACKENDS:
            raise UsageError("backend", "'{}' is not known".format(backend), "use " + " or ".join(BACKENDS))
        bundle = path if isinstance(path, Bundle) else Bundle.open(path)
        thresholds = Thresholds.of(bundle.exits, *(thresholds or bundle.thresholds(point)))
        policy = exit_policy(bundle.manifest["model"]["gate"], bundle.frames.length, thresholds, early_exit)
        return cls(bundle, Chain(bundle, OnnxBackend(bundle, threads, shared_pool, precision)), policy)

    def recognize(self, clip: Clip, trace: bool = False) -> Result:
        """Recognise one video.

        Args:
            clip: a video file, a folder of pictures, or the frames themselves: (T, H, W, 3) uint8 or float32
                RGB 0-255, already in processing order.
            trace: keep every step with its logits and z.

        Raises:
            InputError: the clip cannot be read, or a segment gave NaN for it.
        """
        start = time.perf_counter()
        if isinstance(clip, np.ndarray):
            check_clip(clip, self.bundle.frames)
            return self._recognize("frames", clip, list(range(len(clip))), None, start, trace)
        path = os.fspath(clip)
        with open_clip(path) as video:
            indices = sampled_order(video, self.bundle.frames)
            frames = read_frames(video, self.bundle.frames, indices)
            return self._recognize(path, frames, indices, _warning(video.frame_count, self.bundle), start, trace)

    def stream(self, address: str, seconds: float = 2.0) -> Iterator[Result]:
        """Recognise a live source window by window, until it ends.

        Frames are taken as they come, whatever order the model was trained with; once a window is answered, the
        rest of it passes without being decoded. A window that the source cuts short gives no result.

        Args:
            address: `csi://0`, `v4l2:///dev/video0`, `rtsp://...`, `file://...` or a plain path.
            seconds: length of a window.

        Raises:
            InputError: the source cannot be opened, or a segment gave NaN.
        """
        spec = self.bundle.frames
        with LiveSource(address) as live:
            step = max(1, int(round(seconds * live.rate / spec.length)))
            try:
                while True:
                    start, first = time.perf_counter(), live.position
                    indices: List[int] = []
                    frames = live.window(spec, step, indices)
                    yield self._recognize(address, frames, indices, None, start, False)
                    live.skip_to(first + spec.length * step)
            except StreamEnd:
                return

    def _recognize(
        self,
        source: str,
        frames: Iterable[np.ndarray],
        indices: List[int],
        warning: Optional[str],
        start: float,
        trace: bool,
    ) -> Result:
        steps: List[Step] = []
        ends: List[float] = []
        traced: List[TraceStep] = []
        try:
            for step in walk(self._chain, frames, self.policy):
                steps.append(step)
                ends.append(time.perf_counter())
                if trace:  # now: the next steps use the same buffers
                    traced.append(self._trace(step))
        except SegmentError as error:
            raise InputError(source, error.problem, error.remedy) from None
        last = steps[-1]
        logits = self._chain.array(last.values.logits)[0]
        best, macs = int(logits.argmax()), self._costs.spent(steps)
        return Result(
            source=source,
            label=self.bundle.labels[best],
            class_index=best,
            confidence=last.values.confidence,
            exit_frame=last.frame,
            exit_layer=last.exit,
            reason=last.decision.reason.value,
            frames=_frames(steps, indices, start, ends),
            macs=macs,
            share=macs / float(self.full_macs),
            milliseconds=1000 * (ends[-1] - start),
            warning=warning,
            trace=traced if trace else None,
        )

    def _trace(self, step: Step) -> TraceStep:
        values, (action, reason) = step.values, step.decision
        logits, z = (self._chain.array(value)[0] for value in (values.logits, values.z))
        return TraceStep(step.frame, step.exit, logits, values.confidence, values.score, z, action.value, reason.value)


def _frames(steps: List[Step], indices: List[int], start: float, ends: List[float]) -> List[Frame]:
    frames = []
    for i in frame_ends(steps):
        step = steps[i]
        milliseconds = 1000 * (ends[i] - start)
        reason = step.decision.reason.value
        frames.append(Frame(indices[step.frame], step.exit, reason, step.values.confidence, milliseconds))
        start = ends[i]
    return frames


def _warning(frame_count: int, bundle: Bundle) -> Optional[str]:
    if frame_count >= bundle.frames.length:
        return None
    text = "has {} frame{}, the model reads {}: some are used again; give a longer clip for the full accuracy"
    return text.format(frame_count, "" if frame_count == 1 else "s", bundle.frames.length)
