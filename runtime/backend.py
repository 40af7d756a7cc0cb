"""The interface between the chain and what runs a bundle's graphs."""

import time
from typing import Any, Callable, List, Sequence

import numpy as np

from tlee.bundle import Segment

FRAMES = 2  # on a GPU: one is computed while the next one is uploaded
ANSWERS = ("confidence", "score")  # outputs that the host reads


class BufferPool:
    """One or two sets of output buffers of a graph, used alternately, but never one that the run reads from."""

    def __init__(self, buffers: List[List[Any]]) -> None:
        self._buffers, self._last, self.first = buffers, 0, buffers[0]

    @classmethod
    def of(cls, graph: Segment, make: Callable[[], List[Any]]) -> "BufferPool":
        """For a graph: two sets if an output is still needed while it runs again, as all but a split's own."""
        single = graph.name.startswith("split") and not graph.state
        return cls([make() for _ in range(1 if single else 2)])

    def next(self, inputs: Sequence[Any]) -> List[Any]:
        """The buffers that a run on these inputs writes to."""
        if len(self._buffers) > 1:
            other = 1 - self._last
            if not any(value in self._buffers[other] for value in inputs):  # unless a state was given in again
                self._last = other
        return self._buffers[self._last]


class Backend:
    """Runs graphs on values of its own kind, which stay in the memory of the device that computes.

    `run`, `fetch` and `mark` queue work in the order of the calls; `wait` and `array` wait for it. Use it within
    `with`, from one thread at a time; only `frame` may be called from another thread meanwhile.
    """

    name = ""  # shown to the user
    is_async = False  # it computes on another device than the CPU, which is idle while it waits
    precision = ""  # that its graphs compute in; several are separated by commas

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def frame(self, frame: np.ndarray) -> Any:
        """A frame, (H, W, 3) RGB 0-255 of any type, as the first split's input; valid until the second next call."""
        return self.value(np.ascontiguousarray(frame[np.newaxis], dtype=np.float32))

    def value(self, array: np.ndarray) -> Any:
        """A copy of a float32 array as an input of graphs."""
        raise NotImplementedError  # abstract

    def array(self, value: Any) -> np.ndarray:
        """A copy of a value as an array."""
        return np.array(value.array)

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> List[Any]:
        """Queue a graph on values in the order of its inputs; returns its outputs in their order.

        Later runs of the graph reuse the output buffers: an output of a split without a state is valid until that
        split runs again, any other one run longer, and a state as long as it is the newest one given back in.

        Args:
            rows: batch size: only this many first rows of inputs and outputs are used.
        """
        raise NotImplementedError  # abstract

    def fetch(self, values: Sequence[Any], rows: int = 1) -> None:
        """Queue the download of `values`, each (rows, 1), which are outputs of the runs just queued."""
        self._fetched, self._rows = values, rows

    def wait(self) -> List[List[float]]:
        """Wait for the last `fetch`; returns a list per value, with a number per row."""
        numbers = [value.array[: self._rows, 0].tolist() for value in self._fetched]
        self._end = time.perf_counter()
        return numbers

    def mark(self) -> None:
        """Queue the start of a measurement."""
        self._start = time.perf_counter()

    def milliseconds(self) -> float:
        """Time from the last `mark` to the last `fetch`, by the clock of the device that computes."""
        return 1000 * (self._end - self._start)

    def should_speculate(self, graph: str, chance: float) -> bool:
        """Whether queueing a graph ahead pays if it will be needed with this chance. Never where the CPU computes."""
        return False

    # -- several videos at once

    def empty(self, shape: Sequence[int]) -> Any:
        """A value with undefined contents."""
        raise NotImplementedError  # abstract

    def staging_buffer(self, shape: Sequence[int]) -> Any:
        """A value whose `array` the host fills before calling `send`."""
        raise NotImplementedError  # abstract

    def send(self, staging_buffer: Any, rows: int) -> None:
        """Queue the upload of the first rows. They must not change until it is done."""

    def copy_row(self, source: Any, i: int, target: Any, j: int) -> None:
        """Queue copying row `i` of one value to row `j` of another."""
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Release everything, outside of `with`. It cannot be used afterwards."""


class ForwardingBackend(Backend):
    """Forwards everything that a subclass does not override to another backend: for watching or replacing runs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        for name, inherited in vars(Backend).items():
            if not name.startswith("_") and getattr(type(self), name) is inherited:
                setattr(self, name, getattr(backend, name))

    def __enter__(self) -> Backend:
        return self._backend.__enter__()

    def __exit__(self, *what: Any) -> None:
        self._backend.__exit__(*what)
