"""Segments on ONNX Runtime. Values stay in ONNX Runtime from segment to segment; nothing is copied between."""

import os
from collections import deque
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from tlee.bundle import Bundle
from tlee.errors import BundleError, TleeError, UsageError

BATCH = "batch"  # what graphs call their first dimension, the number of videos
_shared_pool: Optional[int] = None  # its number of threads, once there is one


class OnnxBackend:
    """All segments of a bundle as sessions, inputs and outputs bound.

    Outputs lie in buffers that the segment's next runs use again: a split's are overwritten by its next run, all
    others and those of splits with a state by the next but one, so that an exit's z outlives the exit that follows
    it, and a state the run that reads it.

    Args:
        threads: None for the number of cores this process may use.
        shared_pool: see `open_session`.
        precision: see `Bundle.read`. INT8 forms compute here what they compute in TensorRT, but slower than float32.

    Raises:
        UsageError: ONNX Runtime is not installed, or the bundle has no forms in this precision.
        BundleError: a segment is altered, or no model that ONNX Runtime takes.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: Optional[int] = None,
        shared_pool: bool = False,
        precision: str = "fp32",
    ) -> None:
        self._ort = _import_onnxruntime()
        sessions = {n: _open_segment(bundle, n, precision, threads, shared_pool) for n in sorted(bundle.segments)}
        self._segments = {name: self._bind(bundle, name, session) for name, session in sessions.items()}

    def value(self, array: np.ndarray) -> Any:
        """An array as a value that segments take."""
        return self._ort.OrtValue.ortvalue_from_numpy(array)

    def empty(self, shape: Sequence[int]) -> Any:
        """A float32 value of a shape, contents undefined."""
        return self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32)

    def array(self, value: Any) -> np.ndarray:
        """A copy of a value as an array."""
        return np.array(value.numpy())  # recent releases give a view of the buffer

    def run(self, segment: str, *inputs: Any) -> List[Any]:
        """Run a segment on values, in the order of its inputs; returns its outputs in their order."""
        bound = self._segments[segment]
        buffer = bound.buffers[0]
        if len(bound.buffers) > 1:
            bound.buffers.rotate(1)
        for i, value in enumerate(inputs):
            if buffer.inputs[i] is not value:
                buffer.binding.bind_ortvalue_input(bound.inputs[i], value)
                buffer.inputs[i] = value
        bound.session.run_with_iobinding(buffer.binding)
        return buffer.outputs

    def _bind(self, bundle: Bundle, name: str, session: Any) -> "_Bound":
        entry = bundle.manifest["segments"][name]
        buffers: Deque[_Buffer] = deque()
        for _ in range(1 if name.startswith("split") and not bundle.segments[name].state else 2):
            outputs = [self.empty(value["shape"]) for value in entry["outputs"]]
            binding = session.io_binding()
            for value, output in zip(entry["outputs"], outputs):
                binding.bind_ortvalue_output(value["name"], output)
            buffers.append(_Buffer(binding, [None] * len(entry["inputs"]), outputs))
        return _Bound(session, bundle.segments[name].inputs, buffers)


class _Buffer(NamedTuple):
    binding: Any
    inputs: List[Any]  # bound now: binding one again costs more than looking
    outputs: List[Any]


class _Bound(NamedTuple):
    session: Any
    inputs: List[str]
    buffers: Deque[_Buffer]  # the next to use first


def open_session(content: bytes, threads: Optional[int] = None, shared_pool: bool = False) -> Any:
    """A session of an ONNX model.

    By default every session owns a spinning thread pool, and the idle ones steal the cores from the one that works:
    a chain of four then takes two to three times as long. So pools here stop spinning between runs, or:

    Args:
        threads: None for the number of cores this process may use.
        shared_pool: one pool (and one activation scratch) for all sessions of the process, about 1 % faster, for
            programs that open no other sessions: one opened without `use_per_session_threads = False` fails from
            then on. The first caller sizes the pool.

    Raises:
        UsageError: ONNX Runtime is not installed, or the shared pool has another number of threads.
        ONNX Runtime's own exceptions: the model is none that it takes.
    """
    ort = _import_onnxruntime()
    options = _session_options(ort, threads, shared_pool)
    # Without the fallback a failure is raised, not printed.
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _open_segment(bundle: Bundle, name: str, precision: str, threads: Optional[int], shared_pool: bool) -> Any:
    content = bundle.read(name, precision)
    try:
        session = open_session(content, threads, shared_pool)
    except TleeError:
        raise
    except Exception as error:  # ONNX Runtime raises classes of its own that have no public base
        problem = "not a model that ONNX Runtime takes ({})".format(str(error).splitlines()[0][:160])
        raise BundleError(os.path.join(bundle.path, bundle.file_of(name, precision)), problem, "export again") from None
    _check_interface(bundle, name, session)
    return session


def _check_interface(bundle: Bundle, name: str, session: Any) -> None:
    entry: Dict[str, Any] = bundle.manifest["segments"][name]
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        said = [(v["name"], v["shape"]) for v in entry[side]]
        # Releases differ in whether an output's batch is shown as the one that it is.
        if [(v.name, [1 if size == BATCH else size for size in v.shape]) for v in found] != said:
            problem = "its {} are not those of the manifest".format(side)
            raise BundleError(os.path.join(bundle.path, entry["file"]), problem, "export again")


def _session_options(ort: Any, threads: Optional[int], shared_pool: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: what goes wrong is ours to report
    options.add_free_dimension_override_by_name(BATCH, 1)  # known sizes let ONNX Runtime plan ahead
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
