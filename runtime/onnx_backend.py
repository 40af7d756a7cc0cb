"""A bundle's graphs on ONNX Runtime. Values lie where graphs read and write them in place: nothing is copied between
them.

On a GPU a frame goes up, and confidence and score come down; all else stays there.
"""

import os
import time
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from tlee.bundle import BATCH, Bundle, Segment
from tlee.errors import BundleError, TleeError, UsageError
from tlee.files import CANNOT_WRITE, sha256
from tlee.runtime.backend import ANSWERS, FRAMES, Backend, Turns

_shared_pool: Optional[int] = None  # its number of threads, once there is one
PROVIDERS = {
    "ort-tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
NAMES = {"ort-tensorrt": "TensorRT", "cuda": "CUDA", "cpu": "CPU"}  # for people
NEEDS = {"ort-tensorrt": "CUDA, cuDNN and TensorRT", "cuda": "CUDA and cuDNN"}
ALIGNMENT = 64  # bytes, of arrays: what vector instructions load at once
BINDINGS = 64  # kept of a buffer, at most; the chain makes some ten
DEVICE = ("cuda", 0)
HAS_TF32 = (1, 18)  # the first release that can be told not to compute float32 in TF32


class Value:
    """An array, (rows, ...) float32, and the ONNX Runtime values of its first rows.

    ONNX Runtime's values on the CPU lie in the array's own memory.
    """

    __slots__ = ("array", "_ort", "_values")

    def __init__(self, ort: Any, array: np.ndarray) -> None:
        self.array = array
        self._ort, self._values = ort, {}  # type: ignore

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
    """A value in the GPU's memory, of one row."""

    __slots__ = ("_ort", "_ort_value")

    def __init__(self, ort: Any, ort_value: Any) -> None:
        self._ort, self._ort_value = ort, ort_value

    @property
    def shape(self) -> Tuple[int, ...]:
        return tuple(self._ort_value.shape())

    @property
    def array(self) -> np.ndarray:
        """A download. What were written into it would not reach the GPU."""
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


AnyValue = Union[Value, DeviceValue]


class OnnxBackend(Backend):
    """Graphs of a bundle as sessions, inputs and outputs bound.

    Args:
        graphs: names of segments and units; without them all segments.
        threads: None for the number of cores this process may use.
        shared_pool: see `open_session`.
        precision: see `Bundle.read`. INT8 forms compute here what they compute in TensorRT, but slower than float32.
        rows: videos at once, at most. Several have their values on the host, whatever computes: ONNX Runtime copies
            no rows on a GPU.
        provider: of `PROVIDERS`, what computes. "ort-tensorrt" leaves to CUDA, and that to the CPU, what it does not
            take; it builds engines when it first opens a bundle, minutes on a board, and keeps them, see
            `engine_cache`.

    Raises:
        UsageError: ONNX Runtime is not installed, or not for this provider, or the bundle has no forms in this
            precision.
        BundleError: a graph is altered, or no model that ONNX Runtime takes.
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
        self._ort, self.rows = _import_onnxruntime(), rows
        self.name, self.elsewhere = "ONNX Runtime, {}".format(NAMES[provider]), provider != "cpu"
        self._on_device = self.elsewhere and rows == 1
        self._followed = _followed(self._ort, self.elsewhere)
        names = sorted(bundle.segments) if graphs is None else list(graphs)
        one = 1 if rows == 1 else None
        _check_available(self._ort, provider)
        providers = _providers(self._ort, provider, precision, bundle, names, one)
        sessions = {n: _open_graph(bundle, n, precision, threads, shared_pool, one, providers) for n in names}
        self._graphs = {name: self._prepare(bundle, name, session) for name, session in sessions.items()}
        self._frames: Deque[Any] = deque()
        shape = bundle.manifest["segments"]["split0"]["inputs"][0]["shape"]
        self._frames.extend(self.empty(shape) for _ in range(FRAMES))

    def frame(self, frame: np.ndarray) -> AnyValue:
        place = self._frames[0]
        self._frames.rotate(1)
        place.replace(frame[np.newaxis])
        return place

    def value(self, array: np.ndarray) -> AnyValue:
        if self._on_device:
            array = np.ascontiguousarray(array, dtype=np.float32)
            return DeviceValue(self._ort, self._ort.OrtValue.ortvalue_from_numpy(array, *DEVICE))
        value = self._on_host(array.shape)
        value.array[...] = array
        return value

    def empty(self, shape: Sequence[int]) -> AnyValue:
        if self._on_device:
            memory = self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, *DEVICE)
            return DeviceValue(self._ort, memory)
        return self._on_host(shape)

    def array(self, value: AnyValue) -> np.ndarray:
        return np.array(value.array)

    def run(self, graph: str, *inputs: AnyValue, rows: int = 1) -> List[AnyValue]:
        session, turns = self._graphs[graph]
        outputs: Any = turns.next(inputs)
        session.run_with_iobinding(outputs.binding(session, inputs, rows))
        return outputs

    def wait(self) -> List[List[float]]:
        numbers = [value.array[: self._rows, 0].tolist() for value in self._fetched]
        self._end = time.perf_counter()
        return numbers

    def inbox(self, shape: Sequence[int]) -> Value:
        return self._on_host(shape)

    def copy_row(self, source: AnyValue, i: int, target: AnyValue, j: int) -> None:
        if isinstance(target, DeviceValue):
            target.replace(source.array)
        else:
            target.array[j] = source.array[i]

    def close(self) -> None:
        self._graphs.clear()
        self._frames.clear()

    def _on_host(self, shape: Sequence[int]) -> Value:
        return Value(self._ort, _aligned(shape))

    def _prepare(self, bundle: Bundle, name: str, session: Any) -> "_Prepared":
        graph = bundle.graph(name)
        shapes = {output.name: [self.rows] + output.shape[1:] for output in session.get_outputs()}
        count = 1 if name.startswith("split") and not graph.state else 2
        return _Prepared(session, Turns([self._outputs(graph, shapes) for _ in range(count)]))

    def _outputs(self, graph: Segment, shapes: Dict[str, List[int]]) -> "_Outputs":
        # Where the host reads them ONNX Runtime brings the answers itself, as part of the run.
        places = [self._on_host if name in ANSWERS else self.empty for name in graph.outputs]
        values = [place(shapes[name]) for place, name in zip(places, graph.outputs)]
        return _Outputs(graph, values, self._followed)


class _Outputs(list):
    """Buffers for a graph's outputs, and its bindings to them, which cost more to make than to find."""

    def __init__(self, graph: Segment, values: List[AnyValue], followed: Tuple[type, ...]) -> None:
        super().__init__(values)
        self._graph, self._followed = graph, followed
        self._bindings: Dict[Any, Any] = {}

    def binding(self, session: Any, inputs: Tuple[AnyValue, ...], rows: int) -> Any:
        key = (rows, inputs)
        io = self._bindings.get(key)
        if io is None:
            if len(self._bindings) == BINDINGS:
                self._bindings.clear()
            io = self._bindings[key] = session.io_binding()
            for name, value in zip(self._graph.outputs, self):
                io.bind_ortvalue_output(name, value.of(rows))
            self._bind(io, inputs, rows, ())
        elif self._followed != (Value,):
            self._bind(io, inputs, rows, self._followed)
        return io

    def _bind(self, io: Any, inputs: Tuple[AnyValue, ...], rows: int, followed: Tuple[type, ...]) -> None:
        for name, value in zip(self._graph.inputs, inputs):
            if not isinstance(value, followed):
                io.bind_ortvalue_input(name, value.of(1 if name == "temperature" else rows))


class _Prepared(NamedTuple):
    session: Any
    outputs: Turns


def _followed(ort: Any, elsewhere: bool) -> Tuple[type, ...]:
    """The values of which graphs read what they hold when they run, not what they held when they were bound."""
    if not elsewhere:
        return (Value,)
    return (DeviceValue,) if hasattr(ort.OrtValue, "update_inplace") else ()


def _aligned(shape: Sequence[int]) -> np.ndarray:
    size = 4 * int(np.prod(shape))
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)


def has_provider(name: str) -> bool:
    """Whether the installed ONNX Runtime has a provider of `PROVIDERS`."""
    return PROVIDERS[name] in _import_onnxruntime().get_available_providers()


def engine_cache(bundle: Bundle, names: Sequence[str], precision: str, batch: Optional[int] = 1) -> str:
    """Where "ort-tensorrt" keeps the engines that it builds of these graphs: a folder in the user's cache.

    It tells engines apart by the graphs' structure, not by their weights, so every bundle has a folder of its own, and
    so has every release of ONNX Runtime.
    """
    contents = [bundle.manifest["files"][bundle.file_of(name, precision)]["sha256"] for name in sorted(names)]
    key = sha256(repr((_import_onnxruntime().__version__, precision, batch, contents)).encode())
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "tlee", "ort-tensorrt", key[:32])


def open_session(
    content: bytes,
    threads: Optional[int] = None,
    shared_pool: bool = False,
    batch: Optional[int] = 1,
    providers: Sequence[Any] = (PROVIDERS["cpu"],),
) -> Any:
    """A session of an ONNX model.

    By default every session owns a spinning thread pool, and the idle ones steal the cores from the one that works:
    a chain of four then takes two to three times as long. So pools here stop spinning between runs, or:

    Args:
        threads: None for the number of cores this process may use.
        shared_pool: one pool (and one activation scratch) for all sessions of the process, about 1 % faster, for
            programs that open no other sessions: one opened without `use_per_session_threads = False` fails from
            then on. The first caller sizes the pool.
        batch: what the model's free first dimension will always be; None leaves it free. Sizes that are known let ONNX
            Runtime plan ahead.
        providers: as ONNX Runtime takes them, the first that takes a node computes it.

    Raises:
        UsageError: ONNX Runtime is not installed, or the shared pool has another number of threads.
        ONNX Runtime's own exceptions: the model is none that it takes.
    """
    ort = _import_onnxruntime()
    options = _session_options(ort, threads, shared_pool)
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH, batch)
    # Without the fallback a failure is raised, not printed.
    return ort.InferenceSession(content, options, providers=list(providers), enable_fallback=0)


def _open_graph(
    bundle: Bundle,
    name: str,
    precision: str,
    threads: Optional[int],
    shared_pool: bool,
    batch: Optional[int],
    providers: Sequence[Tuple[str, Dict[str, Any]]],
) -> Any:
    content, first = bundle.read(name, precision), providers[0][0]
    try:
        session = open_session(content, threads, shared_pool, batch, providers)
    except TleeError:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that have no public base
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        if len(providers) > 1:
            raise _refused(providers, "{} cannot be opened on it ({})".format(name, said)) from None
        problem = "not a model that ONNX Runtime takes ({})".format(said)
        raise BundleError(os.path.join(bundle.path, bundle.file_of(name, precision)), problem, "export again") from None
    if session.get_providers()[0] != first:  # ONNX Runtime goes on without one whose libraries are missing
        raise _refused(providers, "its libraries cannot be loaded")
    _check_interface(bundle, name, session)
    return session


def _check_available(ort: Any, provider: str) -> None:
    if PROVIDERS[provider] not in ort.get_available_providers():
        problem = "the installed ONNX Runtime is made without {}".format(PROVIDERS[provider])
        remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson NVIDIA's wheel of it)"
        raise UsageError("backend {}".format(provider), problem, remedy)


def _providers(
    ort: Any, provider: str, precision: str, bundle: Bundle, names: Sequence[str], batch: Optional[int]
) -> List[Tuple[str, Dict[str, Any]]]:
    """What computes, and what computes what that does not take, with their options."""
    providers: List[Tuple[str, Dict[str, Any]]] = [(PROVIDERS["cpu"], {})]
    if provider == "cpu":
        return providers
    # Every session has memory of its own: as much as it asked for, not the next power of two.
    options: Dict[str, Any] = {"device_id": DEVICE[1], "arena_extend_strategy": "kSameAsRequested"}
    if tuple(int(n) for n in ort.__version__.split(".")[:2]) >= HAS_TF32:
        options["use_tf32"] = 0  # what is called float32 is float32
    providers.insert(0, (PROVIDERS["cuda"], options))
    if provider == "cuda":
        return providers
    cache = engine_cache(bundle, names, precision, batch)
    try:
        os.makedirs(cache, exist_ok=True)
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder that you may write to and that has room"
        raise UsageError(cache, CANNOT_WRITE.format(error.strerror), remedy) from None
    options = {"device_id": DEVICE[1], "trt_engine_cache_enable": True, "trt_engine_cache_path": cache}
    if precision != "fp32":
        options["trt_{}_enable".format(precision)] = True
    return [(PROVIDERS[provider], options)] + providers


def _refused(providers: Sequence[Tuple[str, Dict[str, Any]]], problem: str) -> UsageError:
    (first, options), ort = providers[0], _import_onnxruntime()
    backend = next(name for name, provider in PROVIDERS.items() if provider == first)
    remedy = "install {} as this ONNX Runtime, {}, needs them".format(NEEDS[backend], ort.__version__)
    if "trt_engine_cache_path" in options:
        remedy += "; if they were replaced, remove {}".format(options["trt_engine_cache_path"])
    return UsageError("backend {}".format(backend), problem, remedy)


def _check_interface(bundle: Bundle, name: str, session: Any) -> None:
    entry: Dict[str, Any] = dict(bundle.manifest["segments"], **bundle.manifest["units"])[name]
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        said = [(v["name"], v["shape"]) for v in entry[side]]
        if [(v.name, [1 if size == BATCH else size for size in v.shape]) for v in found] != said:
            problem = "its {} are not those of the manifest".format(side)
            raise BundleError(os.path.join(bundle.path, entry["file"]), problem, "export again")


def _session_options(ort: Any, threads: Optional[int], shared_pool: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: what goes wrong is ours to report
    # Q/DQ pairs as they are written, rounding where TensorRT does; fused by ONNX Runtime they are slower, too.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    recent = hasattr(ort, "set_global_thread_pool_sizes")
    if _shared_pool is not None or (recent and shared_pool):
        _share(ort, threads)
        options.use_per_session_threads = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        return options
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    if recent:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    else:  # as on a Jetson Nano: pools that never spin
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _share(ort: Any, threads: Optional[int]) -> None:
    """One thread pool and one activation scratch for the process: sessions of a chain never run at once."""
    global _shared_pool
    if _shared_pool is None:
        _shared_pool = threads or len(os.sched_getaffinity(0))
        ort.set_global_thread_pool_sizes(_shared_pool, 1)
        kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT), None)
    elif threads and threads != _shared_pool:
        problem = "{} asked for, this process runs with {}".format(threads, _shared_pool)
        raise UsageError("threads", problem, "use the same number for every recogniser of a process")


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("ONNX Runtime", "not installed", "pip install 'tlee[cpu]'") from None
    return onnxruntime
