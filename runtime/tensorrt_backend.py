"""Graphs as TensorRT engines, on a stream of the GPU. Values stay in the GPU's memory from engine to engine.

Per frame its pixels go up, on a stream of their own; per decision confidence and score come down. On boards whose GPU
shares the CPU's memory neither is copied: engines read and write page-locked memory of the host.
"""

import statistics
import threading
from collections import deque
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tlee.bundle import Bundle, Segment
from tlee.engines.cuda import Cuda, open_cuda
from tlee.errors import UsageError
from tlee.runtime.backend import ANSWERS, FRAMES, Backend, BufferPool
from tlee.runtime.engines import Engines, find_engines

ALIGNMENT = 256  # bytes, of what engines read and write; source: TensorRT's reference, setTensorAddress
MEASUREMENTS = 5
PATIENCE = 10.0  # seconds, for a thread that is still at work when the process ends


class Value:
    """Device memory: its address, and its shape with as many rows as there are videos at once at most."""

    __slots__ = ("pointer", "shape")

    def __init__(self, pointer: int, shape: Tuple[int, ...]) -> None:
        self.pointer, self.shape = pointer, shape


class Frame(Value):
    """A frame's place.

    Attributes:
        array: the host's side of it; on boards both are one.
        ready: when it was uploaded last.
        read: when the first split had read it last.
        busy: of these the one until which its memory must stay as it is.
    """

    __slots__ = ("array", "ready", "read", "busy")

    def __init__(self, pointer: int, shape: Tuple[int, ...], array: np.ndarray, ready: Any, read: Any) -> None:
        super().__init__(pointer, shape)
        self.array, self.ready, self.read = array, ready, read
        self.busy: Optional[Any] = None


class StagingBuffer(Value):
    """Values that the host writes, row by row, into `array`, and then sends."""

    __slots__ = ("array",)

    def __init__(self, pointer: int, shape: Tuple[int, ...], array: np.ndarray) -> None:
        super().__init__(pointer, shape)
        self.array = array


class _Engine:
    """An engine ready to run: its context, its values, and where its outputs go in turn."""

    def __init__(self, context: Any, values: List[Any], graph: Segment, outputs: List[List[Value]]) -> None:
        self.context, self.values = context, values
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self.pool = BufferPool(outputs)
        self.rows = 0  # that the context is set for


class TensorRTBackend(Backend):
    """The engines that tlee-build made of a bundle.

    Args:
        engine_dir: where they are.
        rows: videos at once, at most.

    Attributes:
        exit_graphs: what the engines are, see `tlee.bundle.Bundle.chain`.

    Raises:
        UsageError: TensorRT or CUDA is missing here, or the engines are for fewer videos at once.
        EngineError: no engines for this device, or they are damaged, or memory is short.
    """

    is_async = True

    def __init__(self, bundle: Bundle, engine_dir: str, rows: int = 1) -> None:
        self.rows = rows
        self._cuda: Optional[Cuda] = open_cuda()
        self._engines: Dict[str, _Engine] = {}
        self._at_work = threading.RLock()
        self._read: Optional[Frame] = None  # that the split just queued reads
        try:
            with self._cuda:
                self._open(bundle, engine_dir)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TensorRTBackend":
        self._at_work.acquire()
        try:
            self._opened().__enter__()
        except BaseException:
            self._at_work.release()
            raise
        return self

    def __exit__(self, *what: Any) -> None:
        try:
            if self._cuda is not None:
                self._cuda.__exit__(*what)
        finally:
            self._at_work.release()

    def close(self) -> None:
        """At the end of the process a daemon thread may still be at work: with its context current, PyCUDA would abort.
        It is waited for, and gets no further."""
        if not self._at_work.acquire(timeout=PATIENCE):
            return  # it waits for something, such as a camera: what it uses goes with the process
        try:
            self._close()
        finally:
            if threading.main_thread().is_alive():  # which is over before what Python does at exit
                self._at_work.release()

    def _close(self) -> None:
        cuda, self._cuda = self._cuda, None
        if cuda is None:
            return
        with cuda:
            cuda.synchronize()
            # What TensorRT and CUDA made goes before the memory that it uses, and that before the CUDA context.
            self._engines.clear()
            for name in ("_release", "_start", "_done", "_uploads", "_frames"):
                self.__dict__.pop(name, None)
        cuda.release()

    # -- values

    def frame(self, frame: np.ndarray) -> Frame:
        cuda, place = self._opened(), self._frames[0]
        self._frames.rotate(1)
        with cuda:
            if place.busy is not None:
                cuda.wait(place.busy)
            np.copyto(place.array, frame, casting="unsafe")
            if not self._mapped:
                cuda.upload(place.pointer, place.array, self._uploads)
                cuda.record(place.ready, self._uploads)
                place.busy = place.ready  # as long as nobody wants it
        return place

    def value(self, array: np.ndarray) -> Value:
        value = Value(self._opened().allocate(array.nbytes), array.shape)
        self._opened().upload(value.pointer, np.ascontiguousarray(array))
        self._opened().synchronize()
        return value

    def array(self, value: Value) -> np.ndarray:
        array = np.empty(value.shape, np.float32)
        self._opened().download(array, value.pointer)
        self._opened().synchronize()
        return array

    def empty(self, shape: Sequence[int]) -> Value:
        return Value(self._opened().allocate(4 * int(np.prod(shape))), tuple(shape))

    def staging_buffer(self, shape: Sequence[int]) -> StagingBuffer:
        pointer, memory = self._place(4 * int(np.prod(shape)))
        return StagingBuffer(pointer, tuple(shape), memory.view(np.float32).reshape(shape))

    def send(self, staging_buffer: StagingBuffer, rows: int) -> None:
        if not self._mapped:
            self._opened().upload(staging_buffer.pointer, staging_buffer.array[:rows])

    def copy_row(self, source: Value, i: int, target: Value, j: int) -> None:
        size = 4 * int(np.prod(source.shape[1:]))
        self._opened().copy(target.pointer + j * size, source.pointer + i * size, size)

    # -- work

    def run(self, graph: str, *inputs: Value, rows: int = 1) -> List[Value]:
        cuda, engine = self._opened(), self._engines[graph]
        outputs = engine.pool.next(inputs)
        if rows != engine.rows:
            self._release.set_batch(engine.context, engine.values, rows)
            engine.rows = rows
        addresses = {name: value.pointer for name, value in zip(engine.inputs, inputs)}
        addresses.update((name, value.pointer) for name, value in zip(engine.outputs, outputs))
        frame = inputs[0] if isinstance(inputs[0], Frame) else None
        if frame and not self._mapped:
            cuda.follow(frame.ready)
        self._release.enqueue(engine.context, engine.values, addresses, cuda.stream)
        if frame:
            cuda.record(frame.read)
            frame.busy = frame.read
            self._read = frame
        return outputs

    def fetch(self, values: Sequence[Value], rows: int = 1) -> None:
        cuda, starts = self._opened(), [value.pointer - self._answers for value in values]
        if starts and not self._mapped:
            size = max(starts) + 4 * rows
            cuda.download(self._answered[:size], self._answers)
        cuda.record(self._done)
        self._fetched = [slice(start // 4, start // 4 + rows) for start in starts]

    def wait(self) -> List[List[float]]:
        self._opened().wait(self._done)
        if self._read:  # by now
            self._read.busy = None
            self._read = None
        numbers = self._answered.view(np.float32)
        return [numbers[place].tolist() for place in self._fetched]

    def mark(self) -> None:
        self._opened().record(self._start)

    def milliseconds(self) -> float:
        return self._opened().milliseconds(self._start, self._done)

    def should_speculate(self, graph: str, chance: float) -> bool:
        """Either the GPU has done the next split instead of nothing, or all that follows comes later by as much."""
        return chance * self._idle > (1 - chance) * self._costs[graph]

    def _opened(self) -> Cuda:
        if self._cuda is None:
            raise UsageError("recogniser", "closed", "load another one")
        return self._cuda

    # -- opening

    def _open(self, bundle: Bundle, engine_dir: str) -> None:
        cuda = self._opened()
        gpu = cuda.gpu()
        found = find_engines(bundle, engine_dir, gpu)
        if found.rows < self.rows:
            problem = f"built for {found.rows} at once, {self.rows} asked for"
            raise UsageError(found.store.folder, problem, f"build with tlee-build --batch {self.rows}")
        self._release, self.exit_graphs, self._mapped = found.release, found.exit_graphs, gpu.integrated
        self.name, self.precision = f"{found.release.name} on {gpu.name}", found.precision
        self._start, self._done = cuda.new_event(), cuda.new_event()
        self._answers, self._answered = self._place(len(ANSWERS) * self._answer_size())
        self._load_engines(bundle, found)
        self._uploads = cuda.new_stream()
        shape = self._shape(bundle.manifest["segments"]["split0"]["inputs"][0]["shape"])
        self._frames = deque(self._new_frame(shape) for _ in range(FRAMES))
        self._measure(bundle.exits)

    def _load_engines(self, bundle: Bundle, found: Engines) -> None:
        release, cuda = found.release, self._opened()
        engines = {name: release.deserialize(found.store.read(file)) for name, file in found.files.items()}
        size = max(release.scratch(engine) for engine in engines.values())
        scratch = cuda.allocate(size)  # one for all: they run one after the other
        manifest = dict(bundle.manifest["segments"], **bundle.manifest["fused_exits"])
        for name, engine in engines.items():
            graph = bundle.graph(name)
            pool = 1 if name.startswith("split") and not graph.state else 2
            outputs = [[self._output(value) for value in manifest[name]["outputs"]] for _ in range(pool)]
            context = release.context(engine, scratch, size)
            self._engines[name] = _Engine(context, release.values(engine), graph, outputs)

    def _output(self, value: Dict[str, Any]) -> Value:
        shape = self._shape(value["shape"])
        if value["name"] in ANSWERS:  # of all graphs in the same place: they are read before the next ones come
            return Value(self._answers + ANSWERS.index(value["name"]) * self._answer_size(), shape)
        return self.empty(shape)

    def _shape(self, shape: Sequence[int]) -> Tuple[int, ...]:
        return (self.rows,) + tuple(shape[1:])

    def _answer_size(self) -> int:
        return -(-4 * self.rows // ALIGNMENT) * ALIGNMENT

    def _place(self, size: int) -> Tuple[int, np.ndarray]:
        """Memory for both sides: the GPU's address, and the host's bytes; on boards it is the same memory."""
        locked = self._opened().lock(size, self._mapped)
        return locked.pointer or self._opened().allocate(size), locked.array

    def _new_frame(self, shape: Tuple[int, ...]) -> Frame:
        pointer, memory = self._place(4 * int(np.prod(shape)))
        events = self._opened().new_event(), self._opened().new_event()
        return Frame(pointer, shape, memory.view(np.float32).reshape(shape), *events)

    def _measure(self, exits: int) -> None:
        """How long splits take, and how long the GPU is idle until the host has heard of a result and queues more."""
        cuda, idle = self._opened(), [0.0]
        self._costs: Dict[str, float] = {}
        for b in range(1, exits):
            name, before, times = f"split{b}", f"split{b - 1}", []
            x, state = self._engines[before].pool.first[0], self._engines[name].pool.first[1:]
            for _ in range(MEASUREMENTS):
                self.mark()
                self.run(name, x, *state)
                cuda.record(self._done)
                cuda.wait(self._done)
                times.append(self.milliseconds())
                self.mark()
                cuda.wait(self._start)
                idle.append(cuda.milliseconds(self._done, self._start))
            self._costs[name] = statistics.median(times)
        self._idle = statistics.median(idle)
