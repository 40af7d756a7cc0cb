"""Graphs as TensorRT engines, on a stream of the GPU. Values stay in the GPU's memory from engine to engine.

Per frame its pixels go up, on a stream of their own; per decision confidence and score come down. On boards whose GPU
shares the CPU's memory neither is copied: engines read and write page-locked memory of the host.
"""

import os
import statistics
import threading
from collections import deque
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tlee.bundle import FUSED, SEPARATE, Bundle, Segment
from tlee.engines.cuda import Cuda, Gpu, open_cuda
from tlee.engines.planning import machine_key
from tlee.engines.releases import MODULES, TensorRT, load
from tlee.engines.store import EngineStore, devices
from tlee.errors import EngineError, TleeError, UsageError
from tlee.runtime.backend import ANSWERS, FRAMES, Backend, BufferPool

ALIGNMENT = 256  # bytes, of what engines read and write; source: TensorRT's reference, setTensorAddress
MEASUREMENTS = 5
NAMED = 3  # other devices that a message names
BUILD = "build them here with tlee-build {}"
PATIENCE = 10.0  # seconds, for a thread that is still at work when the process ends


class Engines(NamedTuple):
    release: TensorRT  # that loads them
    store: EngineStore
    files: Dict[str, str]  # by graph
    exit_graphs: str  # FUSED or SEPARATE, as they were built
    rows: int  # videos at once, at most
    precision: str  # several are separated by commas


class DeviceBuffer:
    """Device memory of float32: its address, its shape at the largest batch, and of a staging buffer the host's `array`
    of it, which on boards is the same memory."""

    def __init__(self, pointer: int, shape: Sequence[int], array: Optional[np.ndarray] = None) -> None:
        self.pointer, self.shape = pointer, tuple(shape)
        self.array: Any = array


class FrameBuffer(DeviceBuffer):
    """A staging buffer for a frame, and the events that guard it."""

    def __init__(self, buffer: DeviceBuffer, uploaded: Any, read: Any) -> None:
        super().__init__(buffer.pointer, buffer.shape, buffer.array)
        self.uploaded, self.read = uploaded, read  # after its last upload, after the first split read it last
        self.busy: Optional[Any] = None  # the one of these until which its memory must not change


class _Engine:
    """An engine ready to run: its context, its bindings, and its output buffers."""

    def __init__(self, context: Any, values: List[Any], graph: Segment, pool: BufferPool) -> None:
        self.context, self.values, self.pool = context, values, pool
        self.names = graph.inputs + graph.outputs
        self.rows = 0  # that the context is set for


class TensorRTBackend(Backend):
    """The engines that tlee-build made of a bundle in `engine_dir`, for `rows` videos at once at most. `exit_graphs`
    says what they are, see `tlee.bundle.Bundle.chain`.

    Raises:
        UsageError: TensorRT or CUDA is missing here, or the engines are for fewer videos at once.
        EngineError: no engines for this device, or they are damaged, or memory is short.
    """

    is_async = True

    def __init__(self, bundle: Bundle, engine_dir: str, rows: int = 1) -> None:
        self.rows = rows
        self._context: Optional[Cuda] = open_cuda()
        self._engines: Dict[str, _Engine] = {}
        self._in_use = threading.RLock()
        self._being_read: Optional[FrameBuffer] = None  # by the split just queued
        try:
            with self._context:
                self._open(bundle, engine_dir)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "TensorRTBackend":
        self._in_use.acquire()
        try:
            self._cuda.__enter__()
        except BaseException:
            self._in_use.release()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if self._context is not None:
                self._context.__exit__(*error)
        finally:
            self._in_use.release()

    def close(self) -> None:
        """At the end of the process a daemon thread may still be at work: with its context current, PyCUDA would abort.
        It is waited for, and gets no further."""
        if not self._in_use.acquire(timeout=PATIENCE):
            return  # it waits for something, such as a camera: what it uses goes with the process
        try:
            cuda, self._context = self._context, None
            if cuda is not None:
                with cuda:
                    cuda.synchronize()
                    # What TensorRT and CUDA made goes before the memory that it uses, and that before the CUDA context.
                    self._engines.clear()
                    for name in ("_release", "_start", "_done", "_uploads", "_frames"):
                        self.__dict__.pop(name, None)
                cuda.release()
        finally:
            if threading.main_thread().is_alive():  # which is over before what Python does at exit
                self._in_use.release()

    @property
    def _cuda(self) -> Cuda:
        if self._context is None:
            raise UsageError("recogniser", "closed", "load another one")
        return self._context

    # -- values

    def frame(self, frame: np.ndarray) -> FrameBuffer:
        cuda, buffer = self._cuda, self._frames[0]
        self._frames.rotate(1)
        with cuda:
            if buffer.busy is not None:
                cuda.wait(buffer.busy)
            np.copyto(buffer.array, frame, casting="unsafe")
            if not self._mapped:
                cuda.upload(buffer.pointer, buffer.array, self._uploads)
                cuda.record(buffer.uploaded, self._uploads)
                buffer.busy = buffer.uploaded  # unless a split reads it
        return buffer

    def value(self, array: np.ndarray) -> DeviceBuffer:
        buffer = self.empty(array.shape)
        self._cuda.upload(buffer.pointer, np.ascontiguousarray(array))
        self._cuda.synchronize()
        return buffer

    def array(self, value: DeviceBuffer) -> np.ndarray:
        array = np.empty(value.shape, np.float32)
        self._cuda.download(array, value.pointer)
        self._cuda.synchronize()
        return array

    def empty(self, shape: Sequence[int]) -> DeviceBuffer:
        return DeviceBuffer(self._cuda.allocate(4 * int(np.prod(shape))), shape)

    def staging_buffer(self, shape: Sequence[int]) -> DeviceBuffer:
        size = 4 * int(np.prod(shape))
        locked = self._cuda.lock(size, self._mapped)
        pointer = locked.pointer or self._cuda.allocate(size)
        return DeviceBuffer(pointer, shape, locked.array.view(np.float32).reshape(shape))

    def send(self, staging_buffer: DeviceBuffer, rows: int) -> None:
        if not self._mapped:
            self._cuda.upload(staging_buffer.pointer, staging_buffer.array[:rows])

    def copy_row(self, source: DeviceBuffer, i: int, target: DeviceBuffer, j: int) -> None:
        size = 4 * int(np.prod(source.shape[1:]))
        self._cuda.copy(target.pointer + j * size, source.pointer + i * size, size)

    # -- work

    def run(self, graph: str, *inputs: DeviceBuffer, rows: int = 1) -> List[DeviceBuffer]:
        cuda, engine = self._cuda, self._engines[graph]
        outputs = engine.pool.next(inputs)
        if rows != engine.rows:
            self._release.set_batch(engine.context, engine.values, rows)
            engine.rows = rows
        addresses = {name: value.pointer for name, value in zip(engine.names, (*inputs, *outputs))}
        frame = inputs[0] if isinstance(inputs[0], FrameBuffer) else None
        if frame and not self._mapped:
            cuda.follow(frame.uploaded)
        self._release.enqueue(engine.context, engine.values, addresses, cuda.stream)
        if frame:
            cuda.record(frame.read)
            frame.busy = frame.read
            self._being_read = frame
        return outputs

    def fetch(self, values: Sequence[DeviceBuffer], rows: int = 1) -> None:
        starts = [(value.pointer - self._answers.pointer) // 4 for value in values]
        if starts and not self._mapped:
            self._cuda.download(self._answers.array[: max(starts) + rows], self._answers.pointer)
        self._cuda.record(self._done)
        self._fetched = [slice(start, start + rows) for start in starts]

    def wait(self) -> List[List[float]]:
        self._cuda.wait(self._done)
        if self._being_read:  # which is over now
            self._being_read.busy = None
            self._being_read = None
        return [self._answers.array[part].tolist() for part in self._fetched]

    def mark(self) -> None:
        self._cuda.record(self._start)

    def milliseconds(self) -> float:
        return self._cuda.milliseconds(self._start, self._done)

    def should_speculate(self, graph: str, chance: float) -> bool:
        """Either the GPU has done the next split instead of nothing, or all that follows comes later by as much."""
        return chance * self._idle > (1 - chance) * self._costs[graph]

    # -- opening

    def _open(self, bundle: Bundle, engine_dir: str) -> None:
        cuda = self._cuda
        gpu = cuda.gpu()
        found = find_engines(bundle, engine_dir, gpu)
        if found.rows < self.rows:
            problem = f"built for {found.rows} at once, {self.rows} asked for"
            raise UsageError(found.store.folder, problem, f"build with tlee-build --batch {self.rows}")
        self._release, self.exit_graphs, self._mapped = found.release, found.exit_graphs, gpu.integrated
        self.name, self.precision = f"{found.release.name} on {gpu.name}", found.precision
        self._start, self._done, self._uploads = cuda.new_event(), cuda.new_event(), cuda.new_stream()
        self._answer_size = -(-4 * self.rows // ALIGNMENT) * ALIGNMENT // 4  # numbers, from one answer to the next
        self._answers = self.staging_buffer([len(ANSWERS) * self._answer_size])
        self._load_engines(bundle, found)
        shape = [self.rows] + bundle.manifest["segments"]["split0"]["inputs"][0]["shape"][1:]
        frames = (FrameBuffer(self.staging_buffer(shape), cuda.new_event(), cuda.new_event()) for _ in range(FRAMES))
        self._frames = deque(frames)
        self._measure(bundle.exits)

    def _load_engines(self, bundle: Bundle, found: Engines) -> None:
        # Not in `_open`: where that fails later, its traceback would keep engines beyond the memory that they use.
        engines = {name: found.release.deserialize(found.store.read(file)) for name, file in found.files.items()}
        size = max(map(found.release.scratch, engines.values()))
        scratch = self._cuda.allocate(size)  # one for all: they run one after the other
        manifest = dict(bundle.manifest["segments"], **bundle.manifest["fused_exits"])
        for name, engine in engines.items():
            graph, context = bundle.graph(name), found.release.context(engine, scratch, size)
            pool = BufferPool.of(graph, partial(self._outputs, manifest[name]["outputs"]))
            self._engines[name] = _Engine(context, found.release.values(engine), graph, pool)

    def _outputs(self, values: List[Dict[str, Any]]) -> List[DeviceBuffer]:
        shapes = {value["name"]: [self.rows] + value["shape"][1:] for value in values}
        # Answers of all graphs are in the same place: they are read before the next ones come.
        starts = {name: self._answers.pointer + 4 * i * self._answer_size for i, name in enumerate(ANSWERS)}
        return [
            DeviceBuffer(starts[name], shape) if name in starts else self.empty(shape) for name, shape in shapes.items()
        ]

    def _measure(self, exits: int) -> None:
        """How long splits take, and how long the GPU is idle until the host has heard of a result and queues more."""
        cuda, idle = self._cuda, [0.0]
        self._costs: Dict[str, float] = {}
        for b in range(1, exits):
            name, times = f"split{b}", []
            x, state = self._engines[f"split{b - 1}"].pool.first[0], self._engines[name].pool.first[1:]
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


def find_engines(bundle: Bundle, folder: str, gpu: Gpu) -> Engines:
    """The engines of a bundle that its last complete build for this device and this TensorRT chose.

    Raises:
        EngineError: there are none, or they are of another export of the bundle.
        UsageError: TensorRT is not installed.
    """
    names: List[str] = []
    untrusted: List[TleeError] = []
    missing: List[TleeError] = []
    capability = "{}.{}".format(*gpu.capability)
    for target in MODULES:
        try:
            release = load(target)  # the next one is not loaded where this one's engines are there
        except UsageError as error:
            missing.append(error)
            continue
        names.append(release.name)
        store = EngineStore(os.path.join(folder, machine_key(release.name, release.portable, gpu.name, capability)))
        if bundle.name in store.active:
            return _checked(bundle, release, store)
        if store.distrust:
            untrusted.append(EngineError(store.folder, "engines " + store.distrust, BUILD.format(bundle.path)))
    if untrusted or not names:
        raise (untrusted + missing)[0]
    others = devices(folder)
    problem = f"no engines of {bundle.name} for {' or '.join(names)} on this device"
    problem += f", only for {', '.join(others[:NAMED])}" if others else ""
    problem += f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    raise EngineError(folder, problem, BUILD.format(bundle.path))


def _checked(bundle: Bundle, release: TensorRT, store: EngineStore) -> Engines:
    identities = {file: store.entries[file]["identity"] for file in store.active[bundle.name]}
    files = {identity["graph"]: file for file, identity in identities.items()}
    kinds = [kind for kind in (FUSED, SEPARATE) if sorted(files) == sorted(bundle.chain(kind))]
    if not kinds:
        raise EngineError(store.folder, "engines of other graphs than the bundle's", BUILD.format(bundle.path))
    exported = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for file, identity in identities.items():
        if identity["source"] not in exported:
            problem = "built from another export of the bundle"
            raise EngineError(store.path(file), problem, BUILD.format(bundle.path))
    rows = min(identity["batch"] for identity in identities.values())
    precision = ", ".join(sorted({identity["precision"] for identity in identities.values()}))
    return Engines(release, store, files, kinds[0], rows, precision)
