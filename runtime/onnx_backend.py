"""Segments on ONNX Runtime. Values stay in ONNX Runtime from segment to segment; nothing is copied between."""

import os
from typing import Any, Dict, List, Optional

import numpy as np

from tlee.bundle import Bundle
from tlee.errors import BundleError, UsageError

_shared_pool: Optional[int] = None  # its thread count; a process has one pool, sized once


class OnnxBackend:
    """All segments of a bundle as sessions that share one thread pool.

    Args:
        threads: threads of the pool; None for the number of cores this process may use. ONNX Runtime has one pool
            per process: the first backend sizes it.

    Raises:
        UsageError: ONNX Runtime is not installed.
        BundleError: a segment is altered, or no model that ONNX Runtime takes.
    """

    def __init__(self, bundle: Bundle, threads: Optional[int] = None) -> None:
        self._ort = _import_onnxruntime()
        options = _session_options(self._ort, threads)
        self._sessions = {name: self._session(bundle, name, options) for name in sorted(bundle.segments)}
        self._outputs = {name: segment.outputs for name, segment in bundle.segments.items()}
        self._inputs = {name: segment.inputs for name, segment in bundle.segments.items()}

    def value(self, array: np.ndarray) -> Any:
        """An array as a value that segments take."""
        return self._ort.OrtValue.ortvalue_from_numpy(array)

    def array(self, value: Any) -> np.ndarray:
        """A value as an array."""
        return value.numpy()

    def run(self, segment: str, *inputs: Any) -> List[Any]:
        """Run a segment on values, in the order of its inputs; returns its outputs in their order."""
        feed = dict(zip(self._inputs[segment], inputs))
        return self._sessions[segment].run_with_ort_values(self._outputs[segment], feed)

    def _session(self, bundle: Bundle, name: str, options: Any) -> Any:
        content = bundle.read(name)
        try:
            session = self._ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its own that have no public base
            problem = "not a model that ONNX Runtime takes ({})".format(str(error).splitlines()[0][:160])
            raise BundleError(os.path.join(bundle.path, bundle.segments[name].file), problem, "export again") from None
        _check_interface(bundle, name, session)
        return session


def _check_interface(bundle: Bundle, name: str, session: Any) -> None:
    entry: Dict[str, Any] = bundle.manifest["segments"][name]
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        said = [(v["name"], v["shape"]) for v in entry[side]]
        if [(v.name, v.shape) for v in found] != said:
            problem = "its {} are not those of the manifest".format(side)
            raise BundleError(os.path.join(bundle.path, entry["file"]), problem, "export again")


def _session_options(ort: Any, threads: Optional[int]) -> Any:
    global _shared_pool
    threads = threads or len(os.sched_getaffinity(0))
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: what goes wrong is ours to report
    # One pool for all sessions. By default each session owns a spinning one, and the idle ones steal the cores
    # from the one that works: a chain of four then takes two to three times as long.
    if hasattr(ort, "set_global_thread_pool_sizes"):
        if _shared_pool is None:
            ort.set_global_thread_pool_sizes(threads, 1)
            _shared_pool = threads
        elif _shared_pool != threads:
            problem = "{} asked for, this process runs with {}".format(threads, _shared_pool)
            raise UsageError("threads", problem, "use the same number for every recogniser of a process")
        options.use_per_session_threads = False
    else:  # releases before 1.2x, as on a Jetson Nano: own pools that sleep while idle
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError("ONNX Runtime", "not installed", "pip install 'tlee[cpu]'") from None
    return onnxruntime
