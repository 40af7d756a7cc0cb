"""What the recognisers share: how they are opened from a bundle, and closed."""

import contextlib
import weakref
from typing import Any, Iterator, List, Optional, Tuple

from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.policy import ExitPolicy, Thresholds, exit_policy
from tlee.runtime.backend import Backend
from tlee.runtime.backends import BackendConfig, BackendHandle, open_backend
from tlee.runtime.background import Background
from tlee.runtime.results import Reporter
from tlee.runtime.running_rate import RunningRate


class RecognizerBase:
    """A recogniser computes on a backend and may read frames in threads, so it needs closing, best by `with`.

    Attributes:
        notes: what the user should know about how the backend was chosen.
    """

    notes: List[str] = []

    def __init__(self, bundle: Bundle, backend: Backend, policy: ExitPolicy, prefetch: bool, workers: int) -> None:
        self.bundle, self.policy, self._backend = bundle, policy, backend
        # Where the CPU computes, reading a frame meanwhile would cost as much as it saves.
        self._prefetch = prefetch and backend.is_async
        self._readers, self._needed = Background(workers), RunningRate()  # by frame, whether the next one is needed
        self._reporter = Reporter(bundle)
        self._close_by_itself(None)

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._backend.name

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release memory and threads. Happens by itself when this is collected, or Python ends."""
        raise NotImplementedError  # abstract

    def _close_by_itself(self, backend: Optional[Backend]) -> None:
        """Close the threads, and a backend that is this recogniser's own."""
        self._close = weakref.finalize(self, _close, self._readers, backend)

    def _check_open(self) -> None:
        if not self._close.alive:
            raise UsageError("recogniser", "closed", "load another one")


@contextlib.contextmanager
def opened(
    path: Any, config: BackendConfig, thresholds: Optional[Thresholds], point: Optional[str], early_exit: bool
) -> Iterator[Tuple[Bundle, BackendHandle, ExitPolicy]]:
    """An open bundle, its backend and its exit rule; the backend is closed if the block fails."""
    bundle = path if isinstance(path, Bundle) else Bundle.open(path)
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


def _close(readers: Background, backend: Optional[Backend]) -> None:
    readers.close()
    if backend:
        backend.close()
