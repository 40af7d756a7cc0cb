"""What the recognisers share: how they are opened from a bundle, report results, and are closed."""

import contextlib
import time
import weakref
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from tlee.bundle import Bundle
from tlee.costs import Costs, frame_ends
from tlee.errors import UsageError
from tlee.policy import Action, ExitPolicy, Thresholds, exit_policy
from tlee.runtime.backend import Backend
from tlee.runtime.backends import BackendConfig, BackendHandle, open_backend
from tlee.runtime.chain import RunningRate
from tlee.runtime.clips import ClipRequest
from tlee.runtime.prefetch import LIKELY, Background
from tlee.runtime.results import Frame, Result, Timed, TraceStep

ENDED = "its frames end after {} of {}: the last one answers; give all for the full accuracy"


class RecognizerBase:
    """A recogniser computes on a backend and may read frames in threads, so it needs closing, best by `with`.

    Attributes:
        backend: the name of what computes.
        notes: what the user should know about how the backend was chosen.
    """

    notes: List[str] = []

    def __init__(self, bundle: Bundle, backend: Backend, policy: ExitPolicy, prefetch: bool, workers: int) -> None:
        self.bundle, self.policy, self._backend, self.backend = bundle, policy, backend, backend.name
        # Where the CPU computes, reading a frame meanwhile would cost as much as it saves.
        self._prefetch, self._decodes_ahead = prefetch and backend.is_async, prefetch
        self._readers, self._needed = Background(workers), RunningRate()  # by frame, whether the next one is needed
        self._costs = Costs.of_bundle(bundle)
        self._closers: List[Callable[[], None]] = [self._readers.close]
        self._close = weakref.finalize(self, _call_all, self._closers)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release memory and threads. Happens by itself when this is collected, or Python ends."""
        raise NotImplementedError  # abstract

    def decodes_ahead(self, t: int) -> bool:
        """Whether the frame after the t-th of a video may be decoded at the same time, for it will likely be needed."""
        return self._decodes_ahead and self._needed.of(t) >= LIKELY

    def _check_open(self) -> None:
        if not self._close.alive:
            raise UsageError("recogniser", "closed", "load another one")

    def _result(
        self, request: ClipRequest, timed: Sequence[Timed], logits: np.ndarray, trace: Optional[List[TraceStep]] = None
    ) -> Result:
        """The answer of a video after its last step, with that one's logits, (K,)."""
        steps, indices, length = [step for step, _ in timed], request.indices, self.bundle.frames.length
        last, best, macs = steps[-1], int(logits.argmax()), self._costs.spent(steps)
        frames = []
        for step, milliseconds in (timed[i] for i in frame_ends(steps)):
            index = indices[step.frame] if step.frame < len(indices) else step.frame
            frames.append(Frame(index, step.exit, step.decision.reason.value, step.values.confidence, milliseconds))
        ended = ENDED.format(last.frame + 1, length) if last.decision.action is not Action.VIDEO_DONE else None
        return Result(
            source=request.source,
            label=self.bundle.labels[best],
            class_index=best,
            confidence=last.values.confidence,
            exit_frame=last.frame,
            exit_layer=last.exit,
            reason=last.decision.reason.value,
            frames=frames,
            macs=macs,
            share=macs / float(self._costs.full(length)),
            milliseconds=1000 * (time.perf_counter() - request.start),
            warning="; ".join(filter(None, (request.warning, ended))) or None,
            trace=trace or None,
        )


@contextlib.contextmanager
def opened(
    path: Any,
    config: BackendConfig,
    thresholds: Optional[Thresholds],
    point: Optional[str],
    early_exit: bool,
    sampling: Optional[str] = None,
) -> Iterator[Tuple[Bundle, BackendHandle, ExitPolicy]]:
    """An open bundle, its backend and its exit rule; the backend is closed if the block fails."""
    bundle = (path if isinstance(path, Bundle) else Bundle.open(path)).sampled(sampling)
    policy = bundle_policy(bundle, thresholds, point, early_exit)
    handle = open_backend(bundle, config)
    try:
        yield bundle, handle, policy
    except BaseException:
        handle.backend.close()
        raise


def bundle_policy(
    bundle: Bundle, thresholds: Optional[Thresholds] = None, point: Optional[str] = None, early_exit: bool = True
) -> ExitPolicy:
    """The exit rule of a bundle, at these thresholds instead of its own, or at those of an operating point."""
    chosen = Thresholds.of(bundle.exits, *(thresholds or bundle.thresholds(point)))
    return exit_policy(bundle.manifest["model"]["gate"], bundle.frames.length, chosen, early_exit)


def _call_all(functions: List[Callable[[], None]]) -> None:
    for function in functions:
        function()
