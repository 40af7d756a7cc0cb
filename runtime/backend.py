"""What the chain asks of whatever runs a bundle's graphs."""

import time
from typing import Any, List, Sequence

import numpy as np

FRAMES = 2  # on a GPU: one is computed while the next one is uploaded
ANSWERS = ("confidence", "score")  # outputs that the host reads


class BufferPool:
    """Buffers for a graph's outputs, written in turn, but never those that a run reads.

    Args:
        buffers: one or two, each a list of values.
    """

    def __init__(self, buffers: List[List[Any]]) -> None:
        self._buffers, self._last = buffers, 0

    @property
    def first(self) -> List[Any]:
        return self._buffers[0]

    def next(self, inputs: Sequence[Any]) -> List[Any]:
        """The buffer for a run on these inputs."""
        if len(self._buffers) > 1:
            self._last = 1 - self._last
            if any(value in self._buffers[self._last] for value in inputs):  # a state whose successor was dropped
                self._last = 1 - self._last
        return self._buffers[self._last]


class Backend:
    """Runs graphs on values of its own kind, which stay where it computes.

    Work is queued by `run`, `fetch` and `mark`, in the order of the calls; `wait` and `array` wait for it. All of it
    happens within `with`, in one thread at a time. Only `frame` may be called from another thread meanwhile.

    Attributes:
        name: what it is, for people.
        is_async: it computes beside the CPU, which is idle while it waits.
        precision: that its graphs compute in; of several, separated by commas.
    """

    name = ""
    is_async = False
    precision = ""

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def frame(self, frame: np.ndarray) -> Any:
        """A frame, (H, W, 3) RGB 0-255 of any type, as the first split's input. It holds until the next but one."""
        return self.value(np.ascontiguousarray(frame[np.newaxis], dtype=np.float32))

    def value(self, array: np.ndarray) -> Any:
        """A copy of a float32 array as a value that graphs take."""
        raise NotImplementedError  # abstract

    def array(self, value: Any) -> np.ndarray:
        """A copy of a value as an array."""
        raise NotImplementedError  # abstract

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> List[Any]:
        """Queue a graph on values in the order of its inputs; returns its outputs in their order.

        They lie in buffers that the graph's later runs use again: an output of a split without a state holds until
        that split runs again, any other one run longer, and a state as long as it is the newest one given back in.

        Args:
            rows: so many first rows of the inputs and outputs are meant, those of so many videos.
        """
        raise NotImplementedError  # abstract

    def fetch(self, values: Sequence[Any], rows: int = 1) -> None:
        """Queue bringing `values`, each (rows, 1), to the host. They are outputs of the runs just queued."""
        self._fetched, self._rows = values, rows

    def wait(self) -> List[List[float]]:
        """The numbers that were fetched last: of each value, of each row."""
        numbers = [self.array(value)[: self._rows, 0].tolist() for value in self._fetched]
        self._end = time.perf_counter()
        return numbers

    def mark(self) -> None:
        """Queue the start of a measurement."""
        self._start = time.perf_counter()

    def milliseconds(self) -> float:
        """From the last `mark` to what the last `wait` waited for, by the clock of what computes."""
        return 1000 * (self._end - self._start)

    def should_speculate(self, graph: str, chance: float) -> bool:
        """Whether to queue a graph ahead that will be wanted with this chance. Never, where the CPU computes."""
        return False

    # -- several videos at once

    def empty(self, shape: Sequence[int]) -> Any:
        """A value of a shape, contents undefined."""
        raise NotImplementedError  # abstract

    def staging_buffer(self, shape: Sequence[int]) -> Any:
        """A value whose `array` the host writes, and then sends."""
        raise NotImplementedError  # abstract

    def send(self, staging_buffer: Any, rows: int) -> None:
        """Queue bringing so many first rows to where graphs read them. They must stay as they are until it is done."""

    def copy_row(self, source: Any, i: int, target: Any, j: int) -> None:
        """Queue a copy of row `i` of a value to row `j` of another one."""
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Give back what it holds, outside of `with`. Nothing can be done with it afterwards."""


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
