"""A bundle's graphs on ONNX Runtime. Graphs read and write values in place: nothing is copied between them.

On a GPU a frame goes up, and confidence and score come down; all else stays there.
"""

import os
from collections import deque
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from tlee.bundle import Bundle, Segment
from tlee.runtime.backend import ANSWERS, FRAMES, Backend, BufferPool
from tlee.runtime.onnx_session import GPU, import_onnxruntime, open_graphs, run_failed

NAMES = {"ort-tensorrt": "TensorRT", "cuda": "CUDA", "cpu": "CPU"}  # shown to the user
ALIGNMENT = 64  # bytes, of arrays: what vector instructions load at once
BINDINGS = 64  # kept per set of output buffers, at most; the chain needs some ten
DEVICE = ("cuda", GPU)


class HostValue:
    """An array, (rows, ...) float32, and the ONNX Runtime values of its first rows, which share its memory."""

    __slots__ = ("array", "_ort", "_values")

    def __init__(self, ort: Any, shape: Sequence[int]) -> None:
        size = 4 * int(np.prod(shape))
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        self.array: np.ndarray = memory[start : start + size].view(np.float32).reshape(shape)
        self._ort = ort
        self._values: Dict[int, Any] = {}

    @property
    def shape(self) -> Tuple[int, ...]:
        return self.array.shape

    def of(self, rows: int) -> Any:
        if rows not in self._values:
            self._values[rows] = self._ort.OrtValue.ortvalue_from_numpy(self.array[:rows])
        return self._values[rows]

    def replace(self, array: np.ndarray) -> None:
        self.array[...] = array


class DeviceValue:
    """A value of one row in the GPU's memory."""

    __slots__ = ("_ort", "_ort_value")

    def __init__(self, ort: Any, ort_value: Any) -> None:
        self._ort, self._ort_value = ort, ort_value

    @property
    def shape(self) -> Tuple[int, ...]:
        return tuple(self._ort_value.shape())

    @property
    def array(self) -> np.ndarray:
        """A download, read-only: writing into it would not reach the GPU."""
        array = self._ort_value.numpy()
        array.setflags(write=False)
        return array

    def of(self, rows: int) -> Any:
        return self._ort_value

    def replace(self, array: np.ndarray) -> None:
        array = np.ascontiguousarray(array, dtype=np.float32)
        if hasattr(self._ort_value, "update_inplace"):
            self._ort_value.update_inplace(array)
        else:  # ONNX Runtime 1.10
            self._ort_value = self._ort.OrtValue.ortvalue_from_numpy(array, *DEVICE)


Value = Union[HostValue, DeviceValue]


class OnnxBackend(Backend):
    """Graphs of a bundle as sessions, inputs and outputs bound.

    Args:
        threads: None for the number of cores this process may use.
        shared_pool: see `tlee.runtime.onnx_session.open_session`.
        precision: see `Bundle.read`. INT8 variants give what they give in TensorRT, but slower than float32.
        graphs: names of segments and fused exits; None for all segments.
        rows: videos at once, at most. Values of several lie on the host, whatever computes: ONNX Runtime copies no
            rows on a GPU.
        provider: of `PROVIDERS`, what computes. "ort-tensorrt" leaves to CUDA, and that to the CPU, what it does not
            take; it builds engines when it first opens a bundle, minutes on a board, and keeps them, see
            `tlee.runtime.onnx_session.engine_cache`.

    Raises:
        UsageError: ONNX Runtime is not installed, or not for this provider, or the bundle has no variants in this
            precision.
        BundleError: a graph is altered, or ONNX Runtime does not take it; from `run`, one that fails while it runs.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: Optional[int] = None,
        shared_pool: bool = False,
        precision: str = "fp32",
        graphs: Optional[Sequence[str]] = None,
        rows: int = 1,
        provider: str = "cpu",
    ) -> None:
        self._ort, self.rows, self.precision = import_onnxruntime(), rows, precision
        self.name, self.is_async = f"ONNX Runtime, {NAMES[provider]}", provider != "cpu"
        self._on_device = self.is_async and rows == 1
        # Types of values of which a bound graph reads the present content, not the one at the time of binding.
        self._in_place: Tuple[type, ...] = () if self.is_async else (HostValue,)
        if self.is_async and hasattr(self._ort.OrtValue, "update_inplace"):
            self._in_place = (DeviceValue,)
        names = sorted(bundle.segments) if graphs is None else graphs
        batch = 1 if rows == 1 else None
        sessions = open_graphs(bundle, names, provider, precision, threads, shared_pool, batch)
        self._graphs = {name: self._prepare(bundle.graph(name), session) for name, session in sessions.items()}
        self._path = lambda graph: os.path.join(bundle.path, bundle.file_of(graph, precision))  # for errors
        shape = bundle.manifest["segments"]["split0"]["inputs"][0]["shape"]
        self._frames = deque(self.empty(shape) for _ in range(FRAMES))

    def frame(self, frame: np.ndarray) -> Value:
        value = self._frames[0]
        self._frames.rotate(1)
        value.replace(frame[np.newaxis])
        return value

    def value(self, array: np.ndarray) -> Value:
        value = self.empty(array.shape)
        value.replace(array)
        return value

    def empty(self, shape: Sequence[int]) -> Value:
        if self._on_device:
            memory = self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, *DEVICE)
            return DeviceValue(self._ort, memory)
        return HostValue(self._ort, shape)

    def run(self, graph: str, *inputs: Value, rows: int = 1) -> List[Value]:
        session, pool = self._graphs[graph]
        outputs: Any = pool.next(inputs)
        try:
            session.run_with_iobinding(outputs.binding(session, inputs, rows))
        except Exception as error:
            raise run_failed(self._path(graph), error) from None
        return outputs

    def staging_buffer(self, shape: Sequence[int]) -> HostValue:
        return HostValue(self._ort, shape)

    def copy_row(self, source: Value, i: int, target: Value, j: int) -> None:
        if isinstance(target, DeviceValue):
            target.replace(source.array)
        else:
            target.array[j] = source.array[i]

    def close(self) -> None:
        self._graphs.clear()
        self._frames.clear()

    def _prepare(self, graph: Segment, session: Any) -> Tuple[Any, BufferPool]:
        shapes = [[self.rows] + output.shape[1:] for output in session.get_outputs()]
        # ONNX Runtime brings the answers to the host itself, as part of the run.
        places = [self.staging_buffer if name in ANSWERS else self.empty for name in graph.outputs]
        pool = BufferPool.of(graph, lambda: _Outputs(graph, [f(s) for f, s in zip(places, shapes)], self._in_place))
        return session, pool


class _Outputs(list):
    """Buffers for a graph's outputs, and its bindings to them, which cost more to make than to find."""

    def __init__(self, graph: Segment, values: List[Value], in_place: Tuple[type, ...]) -> None:
        super().__init__(values)
        self._graph, self._in_place = graph, in_place
        self._bindings: Dict[Any, Any] = {}

    def binding(self, session: Any, inputs: Tuple[Value, ...], rows: int) -> Any:
        key = (rows, inputs)
        io = self._bindings.get(key)
        if io is None:
            if len(self._bindings) == BINDINGS:
                self._bindings.clear()
            io = self._bindings[key] = session.io_binding()
            for name, value in zip(self._graph.outputs, self):
                io.bind_ortvalue_output(name, value.of(rows))
            bound: Tuple[type, ...] = ()
        elif self._in_place == (HostValue,):
            return io
        else:
            bound = self._in_place
        for name, value in zip(self._graph.inputs, inputs):
            if not isinstance(value, bound):
                io.bind_ortvalue_input(name, value.of(1 if name == "temperature" else rows))
        return io
