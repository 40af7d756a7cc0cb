"""ONNX Runtime's sessions: how a graph of a bundle is opened, what computes it, and on whose threads."""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from tlee.bundle import BATCH, Bundle
from tlee.errors import BundleError, TleeError, UsageError, not_imported, system_fault, writing
from tlee.files import sha256

_shared_pool: Optional[int] = None  # its number of threads, once there is one
PROVIDERS = {
    "ort-tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
NEEDS = {"ort-tensorrt": "CUDA, cuDNN and TensorRT", "cuda": "CUDA and cuDNN"}
GPU = 0  # the device's number
HAS_TF32 = (1, 18)  # the first release that can be told not to compute float32 in TF32
Providers = List[Tuple[str, Dict[str, Any]]]  # names and options; the first that takes a node computes it


def has_provider(name: str) -> bool:
    """Whether the installed ONNX Runtime has a provider of `PROVIDERS`."""
    return PROVIDERS[name] in import_onnxruntime().get_available_providers()


def engine_cache(bundle: Bundle, names: Sequence[str], precision: str, batch: Optional[int] = 1) -> str:
    """The folder in the user's cache where "ort-tensorrt" keeps the engines of these graphs. ONNX Runtime tells engines
    apart by the graphs' structure, not by their weights: every bundle and every release has a folder of its own."""
    contents = [bundle.manifest["files"][bundle.file_of(name, precision)]["sha256"] for name in sorted(names)]
    key = sha256(repr((import_onnxruntime().__version__, precision, batch, contents)).encode())
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

    By default every session owns a spinning thread pool, and the idle ones steal the cores from the one that works: a
    chain of four then takes two to three times as long. So pools here stop spinning between runs, or are shared.

    Args:
        threads: None for the number of cores this process may use.
        shared_pool: one pool (and one activation scratch) for all sessions of the process, about 1 % faster, for
            programs that open no other sessions: one opened without `use_per_session_threads = False` fails from
            then on. The first caller sizes the pool.
        batch: fixes the model's free first dimension, so that ONNX Runtime can plan ahead; None leaves it free.
        providers: as ONNX Runtime takes them, the first that takes a node computes it.

    Raises:
        UsageError: ONNX Runtime is not installed, or the shared pool has another number of threads.
        ONNX Runtime's own exceptions: it does not take the model.
    """
    ort = import_onnxruntime()
    options = _session_options(ort, threads, shared_pool)
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH, batch)
    # Without the fallback a failure is raised, not printed.
    session = ort.InferenceSession(content, options, providers=list(providers), enable_fallback=0)
    if _shared_pool is None and session.get_providers() == [PROVIDERS["cpu"]]:
        _run_once(session, batch or 1)
    return session


def _run_once(session: Any, batch: int) -> None:
    """A new session's pool spins until it has run for the first time, on cores that others need to start."""
    shapes = {put.name: [n if isinstance(n, int) else batch for n in put.shape] for put in session.get_inputs()}
    session.run(None, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def open_graphs(
    bundle: Bundle,
    names: Sequence[str],
    provider: str,
    precision: str,
    threads: Optional[int],
    shared_pool: bool,
    batch: Optional[int],
) -> Dict[str, Any]:
    """Sessions of a bundle's graphs by name; arguments and errors as in `OnnxBackend` and `open_session`."""
    providers = _providers(provider, precision, bundle, names, batch)
    sessions = {}
    for name in names:
        content = bundle.read(name, precision)
        try:
            session = open_session(content, threads, shared_pool, batch, providers)
        except TleeError:
            raise
        except Exception as error:  # ONNX Runtime raises classes of its own that have no public base
            if provider != "cpu":
                raise _refused(provider, providers, f"{name} cannot be opened on it ({_first_line(error)})") from None
            not_taken = f"not a model that ONNX Runtime takes ({_first_line(error)})", "export again"
            path = os.path.join(bundle.path, bundle.file_of(name, precision))
            raise BundleError(path, *(system_fault(str(error)) or not_taken)) from None
        if session.get_providers()[0] != PROVIDERS[provider]:  # ONNX Runtime goes on without one that lacks libraries
            raise _refused(provider, providers, "its libraries cannot be loaded")
        manifest = dict(bundle.manifest["segments"], **bundle.manifest["fused_exits"])[name]
        for side, values in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            found = [(v.name, [1 if size == BATCH else size for size in v.shape], v.type) for v in values]
            if found != [(v["name"], v["shape"], "tensor(float)") for v in manifest[side]]:
                problem = f"its {side} are not those of the manifest"
                raise BundleError(os.path.join(bundle.path, manifest["file"]), problem, "export again")
        sessions[name] = session
    return sessions


def run_session(session: Any, subject: str, names: Sequence[str], inputs: Dict[str, Any]) -> List[Any]:
    """Outputs of a session by their names. Raises BundleError, about the subject, where ONNX Runtime fails."""
    try:
        return session.run(list(names), inputs)
    except Exception as error:
        raise run_failed(subject, error) from None


def run_failed(path: str, error: Exception) -> BundleError:
    """For what ONNX Runtime raises while a graph runs."""
    problem = f"ONNX Runtime failed while running it ({_first_line(error)})"
    return BundleError(path, problem, "free memory if that is what lacks, else export again")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _providers(provider: str, precision: str, bundle: Bundle, names: Sequence[str], batch: Optional[int]) -> Providers:
    """The provider, and those that compute what it does not take."""
    ort = import_onnxruntime()
    if not has_provider(provider):
        problem = f"the installed ONNX Runtime is made without {PROVIDERS[provider]}"
        remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson NVIDIA's wheel of it)"
        raise UsageError(f"backend {provider}", problem, remedy)
    cpu: Providers = [(PROVIDERS["cpu"], {})]
    if provider == "cpu":
        return cpu
    # Every session has memory of its own: as much as it asked for, not the next power of two.
    cuda: Dict[str, Any] = {"device_id": GPU, "arena_extend_strategy": "kSameAsRequested"}
    if tuple(int(n) for n in ort.__version__.split(".")[:2]) >= HAS_TF32:
        cuda["use_tf32"] = 0  # what is called float32 is float32
    if provider == "cuda":
        return [(PROVIDERS["cuda"], cuda)] + cpu
    cache = engine_cache(bundle, names, precision, batch)
    with writing(cache, "set XDG_CACHE_HOME to a folder that you may write to and that has room"):
        os.makedirs(cache, exist_ok=True)
    options = {"device_id": GPU, "trt_engine_cache_enable": True, "trt_engine_cache_path": cache}
    if precision != "fp32":
        options[f"trt_{precision}_enable"] = True
    return [(PROVIDERS[provider], options), (PROVIDERS["cuda"], cuda)] + cpu


def _refused(provider: str, providers: Providers, problem: str) -> UsageError:
    remedy = f"install {NEEDS[provider]} as this ONNX Runtime, {import_onnxruntime().__version__}, needs them"
    if provider == "ort-tensorrt":
        remedy += f"; if they were replaced, remove {providers[0][1]['trt_engine_cache_path']}"
    return UsageError(f"backend {provider}", problem, remedy)


def _session_options(ort: Any, threads: Optional[int], shared_pool: bool) -> Any:
    global _shared_pool
    options = ort.SessionOptions()
    options.log_severity_level = 4  # fatal only: what goes wrong is ours to report
    # Q/DQ pairs as they are written, rounding where TensorRT does; fused by ONNX Runtime they are slower, too.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    recent = hasattr(ort, "set_global_thread_pool_sizes")
    if _shared_pool is None and recent and shared_pool:
        # One thread pool and one activation scratch for the process: sessions of a chain never run at once.
        _shared_pool = threads or len(os.sched_getaffinity(0))
        ort.set_global_thread_pool_sizes(_shared_pool, 1)
        kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
        ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT), None)
    if _shared_pool is not None:
        if threads and threads != _shared_pool:
            problem = f"{threads} asked for, this process runs with {_shared_pool}"
            raise UsageError("threads", problem, "use the same number for every recogniser of a process")
        options.use_per_session_threads = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        return options
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    # Old releases, as on a Jetson Nano, have only pools that never spin.
    spinning = ("session.force_spinning_stop", "1") if recent else ("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry(*spinning)
    return options


def import_onnxruntime() -> Any:
    # Recent releases report what they run to their maker unless told not to, and keep a database for it. Users of this
    # package have not agreed to that.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "pip install '.[cpu]' in tlee's folder"
        raise not_imported("ONNX Runtime", "onnxruntime", error, remedy) from None
    return onnxruntime
