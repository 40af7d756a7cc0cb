"""Sessions of ONNX Runtime: how a graph of a bundle is opened, what computes it, and on whose threads."""

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from tlee.bundle import BATCH, Bundle
from tlee.errors import CANNOT_WRITE, BundleError, TleeError, UsageError, not_imported, system_fault
from tlee.files import sha256

_shared_pool: Optional[int] = None  # its number of threads, once there is one
PROVIDERS = {
    "ort-tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
NEEDS = {"ort-tensorrt": "CUDA, cuDNN and TensorRT", "cuda": "CUDA and cuDNN"}
GPU = 0  # the device's number
TYPES = {"float32": "tensor(float)"}  # as ONNX Runtime calls them
HAS_TF32 = (1, 18)  # the first release that can be told not to compute float32 in TF32


def has_provider(name: str) -> bool:
    """Whether the installed ONNX Runtime has a provider of `PROVIDERS`."""
    return PROVIDERS[name] in import_onnxruntime().get_available_providers()


def engine_cache(bundle: Bundle, names: Sequence[str], precision: str, batch: Optional[int] = 1) -> str:
    """Where "ort-tensorrt" keeps the engines that it builds of these graphs: a folder in the user's cache.

    It tells engines apart by the graphs' structure, not by their weights, so every bundle has a folder of its own, and
    so has every release of ONNX Runtime.
    """
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
    ort = import_onnxruntime()
    options = _session_options(ort, threads, shared_pool)
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH, batch)
    # Without the fallback a failure is raised, not printed.
    return ort.InferenceSession(content, options, providers=list(providers), enable_fallback=0)


def open_graphs(
    bundle: Bundle,
    names: Sequence[str],
    provider: str,
    precision: str,
    threads: Optional[int],
    shared_pool: bool,
    batch: Optional[int],
) -> Dict[str, Any]:
    """Sessions of a bundle's graphs by their names; arguments as those of `OnnxBackend` and `open_session`.

    Raises:
        UsageError, BundleError: see `OnnxBackend`.
    """
    ort = import_onnxruntime()
    _check_available(ort, provider)
    providers = _providers(ort, provider, precision, bundle, names, batch)
    return {name: _open_graph(bundle, name, precision, threads, shared_pool, batch, providers) for name in names}


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
        if len(providers) > 1:
            raise _refused(providers, f"{name} cannot be opened on it ({first_line(error)})") from None
        problem, remedy = system_fault(str(error)) or (
            f"not a model that ONNX Runtime takes ({first_line(error)})",
            "export again",
        )
        raise BundleError(os.path.join(bundle.path, bundle.file_of(name, precision)), problem, remedy) from None
    if session.get_providers()[0] != first:  # ONNX Runtime goes on without one whose libraries are missing
        raise _refused(providers, "its libraries cannot be loaded")
    _check_interface(bundle, name, session)
    return session


def run_session(session: Any, subject: str, names: Sequence[str], inputs: Dict[str, Any]) -> List[Any]:
    """Outputs of a session by their names. Raises BundleError, about the subject, where ONNX Runtime fails."""
    try:
        return session.run(list(names), inputs)
    except Exception as error:
        raise run_failed(subject, error) from None


def run_failed(path: str, error: Exception) -> BundleError:
    """For what ONNX Runtime raises while a graph runs: classes of its own that have no public base."""
    problem = f"ONNX Runtime failed while running it ({first_line(error)})"
    return BundleError(path, problem, "free memory if that is what lacks, else export again")


def first_line(error: Exception) -> str:
    """What ONNX Runtime says, as part of a line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _check_available(ort: Any, provider: str) -> None:
    if PROVIDERS[provider] not in ort.get_available_providers():
        problem = f"the installed ONNX Runtime is made without {PROVIDERS[provider]}"
        remedy = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (on a Jetson NVIDIA's wheel of it)"
        raise UsageError(f"backend {provider}", problem, remedy)


def _providers(
    ort: Any, provider: str, precision: str, bundle: Bundle, names: Sequence[str], batch: Optional[int]
) -> List[Tuple[str, Dict[str, Any]]]:
    """What computes, and what computes what that does not take, with their options."""
    providers: List[Tuple[str, Dict[str, Any]]] = [(PROVIDERS["cpu"], {})]
    if provider == "cpu":
        return providers
    # Every session has memory of its own: as much as it asked for, not the next power of two.
    options: Dict[str, Any] = {"device_id": GPU, "arena_extend_strategy": "kSameAsRequested"}
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
    options = {"device_id": GPU, "trt_engine_cache_enable": True, "trt_engine_cache_path": cache}
    if precision != "fp32":
        options[f"trt_{precision}_enable"] = True
    return [(PROVIDERS[provider], options)] + providers


def _refused(providers: Sequence[Tuple[str, Dict[str, Any]]], problem: str) -> UsageError:
    (first, options), ort = providers[0], import_onnxruntime()
    backend = next(name for name, provider in PROVIDERS.items() if provider == first)
    remedy = f"install {NEEDS[backend]} as this ONNX Runtime, {ort.__version__}, needs them"
    if "trt_engine_cache_path" in options:
        remedy += "; if they were replaced, remove {}".format(options["trt_engine_cache_path"])
    return UsageError(f"backend {backend}", problem, remedy)


def _check_interface(bundle: Bundle, name: str, session: Any) -> None:
    entry: Dict[str, Any] = dict(bundle.manifest["segments"], **bundle.manifest["fused_exits"])[name]
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        said = [(v["name"], v["shape"], TYPES.get(v["dtype"])) for v in entry[side]]
        if [(v.name, [1 if size == BATCH else size for size in v.shape], v.type) for v in found] != said:
            problem = f"its {side} are not those of the manifest"
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
        problem = f"{threads} asked for, this process runs with {_shared_pool}"
        raise UsageError("threads", problem, "use the same number for every recogniser of a process")


def import_onnxruntime() -> Any:
    # Recent releases report what they run to their maker unless told not to, and keep a data base for it. Nobody who
    # installs this has agreed to that.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        remedy = "pip install '.[cpu]' in tlee's folder"
        raise not_imported("ONNX Runtime", "onnxruntime", error, remedy) from None
    return onnxruntime
