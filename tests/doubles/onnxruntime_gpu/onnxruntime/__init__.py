"""Stands for onnxruntime-gpu: the installed onnxruntime, with two GPU providers before its own.

What "cuda" holds can be read only by copying it to the host, and every copy between the two is counted. The CPU
computes. What has no counterpart here is not there: a method that is missing was not held to the documentation.

Sources: ONNX Runtime's Python API reference, its pages on I/O binding, the CUDA and the TensorRT execution provider;
copying a host value when it is bound as an input is `IOBinding::BindInput`'s.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import weakref
from importlib.machinery import PathFinder

import numpy as np

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _next_of_the_name():
    """The module that this one stands before on the path."""
    spec = PathFinder.find_spec(__name__, [p for p in sys.path if os.path.abspath(p) != HERE])
    module, this = importlib.util.module_from_spec(spec), sys.modules[__name__]
    sys.modules[__name__] = module
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules[__name__] = this
    return module


_installed = _next_of_the_name()
__version__ = _installed.__version__

TENSORRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"
OPTIONS = {
    TENSORRT: {
        "device_id",
        "trt_max_workspace_size",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
    },
    CUDA: {
        "device_id",
        "gpu_mem_limit",
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "do_copy_in_default_stream",
        "use_tf32",
    },
    CPU: set(),
}
ARENA = ("kNextPowerOfTwo", "kSameAsRequested")

# -- for tests: what happened, and what shall go wrong

uploads: list[int] = []  # bytes
downloads: list[int] = []
on_device: weakref.WeakSet[OrtValue] = weakref.WeakSet()
dropped: set[str] = set()  # providers whose libraries are missing


def become_1_10() -> None:
    """Only what release 1.10 has."""
    global __version__
    __version__ = "1.10.0"
    del OrtValue.update_inplace
    OPTIONS[CUDA].remove("use_tf32")


# -- the API


def __getattr__(name: str):
    return getattr(_installed, name)


def get_available_providers() -> list[str]:
    """What the build contains, whether or not it can be loaded."""
    return [TENSORRT, CUDA, *_installed.get_available_providers()]


class OrtValue:
    def __init__(self, memory: np.ndarray, device: str) -> None:
        self._ortvalue = _installed.OrtValue.ortvalue_from_numpy(memory)
        self._memory, self._device = memory, device
        if device == "cuda":
            on_device.add(self)

    @classmethod
    def ortvalue_from_numpy(cls, numpy_obj: np.ndarray, device_type: str = "cpu", device_id: int = 0) -> OrtValue:
        if _device(device_type, device_id) == "cpu":
            return cls(numpy_obj, "cpu")
        uploads.append(numpy_obj.nbytes)
        return cls(np.array(numpy_obj, order="C"), "cuda")

    @classmethod
    def ortvalue_from_shape_and_type(
        cls, shape: list[int], element_type: type, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        memory = np.full(shape, np.nan, element_type)  # undefined, so that who reads it notices
        return cls(memory, _device(device_type, device_id))

    def numpy(self) -> np.ndarray:
        if self._device == "cpu":
            return self._memory
        downloads.append(self._memory.nbytes)
        return self._memory.copy()

    def update_inplace(self, np_arr: np.ndarray) -> None:
        if np_arr.size != self._memory.size or np_arr.dtype != self._memory.dtype or not np_arr.flags.c_contiguous:
            raise RuntimeError("The input size of numpy arrays does not match the size of the OrtValue.")
        if self._device == "cuda":
            uploads.append(np_arr.nbytes)
        self._memory[...] = np_arr.reshape(self._memory.shape)

    def device_name(self) -> str:
        return self._device

    def shape(self) -> list[int]:
        return list(self._memory.shape)


class InferenceSession:
    def __init__(self, path_or_bytes, sess_options=None, providers=None, provider_options=None, **kwargs) -> None:
        if not providers:
            raise ValueError("Since ORT 1.9, you are required to explicitly set the providers parameter")
        names = [provider if isinstance(provider, str) else provider[0] for provider in providers]
        given = provider_options or [{} if isinstance(provider, str) else provider[1] for provider in providers]
        options = {name: {str(k): str(v) for k, v in chosen.items()} for name, chosen in zip(names, given)}
        self._options = {name: chosen for name, chosen in options.items() if _loads(name, chosen)}
        self._options.setdefault(CPU, {})
        self._session = _installed.InferenceSession(path_or_bytes, sess_options, providers=[CPU], **kwargs)
        self.on_gpu = self.get_providers()[0] != CPU
        for name in ("get_inputs", "get_outputs", "get_modelmeta", "get_session_options", "run"):
            setattr(self, name, getattr(self._session, name))

    def get_providers(self) -> list[str]:
        return list(self._options)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self._options

    def io_binding(self) -> IOBinding:
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options=None) -> None:
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        self._session.run_with_iobinding(iobinding._binding, run_options)
        if self.on_gpu:
            downloads.extend(v._memory.nbytes for v in iobinding._outputs.values() if v.device_name() == "cpu")


class IOBinding:
    def __init__(self, session: InferenceSession) -> None:
        self._session, self._binding = session, session._session.io_binding()
        self._inputs: dict[str, OrtValue] = {}
        self._outputs: dict[str, OrtValue] = {}

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        here = "cuda" if self._session.on_gpu else "cpu"
        if ortvalue.device_name() != here:  # copied now, and not again when it changes
            (uploads if here == "cuda" else downloads).append(ortvalue._memory.nbytes)
            ortvalue = OrtValue(ortvalue._memory.copy(), here)
        self._inputs[name] = ortvalue
        self._binding.bind_ortvalue_input(name, ortvalue._ortvalue)

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        self._outputs[name] = ortvalue
        self._binding.bind_ortvalue_output(name, ortvalue._ortvalue)


def _device(kind: str, number: int) -> str:
    if kind not in ("cpu", "cuda"):
        raise RuntimeError(f"Unsupported device type: {kind}")
    if number != 0:
        raise RuntimeError("The provided device id doesn't match any available GPUs on the machine.")
    return kind


def _loads(provider: str, options: dict[str, str]) -> bool:
    """Whether a provider can be loaded; checks its options, as it then does itself."""
    if provider not in OPTIONS:
        raise ValueError(f"Unknown Provider Type: {provider}")
    if provider in dropped:
        print(f"[E:onnxruntime:Default] Failed to create {provider}. Require cuDNN and CUDA.", file=sys.stderr)
        return False
    unknown = options.keys() - OPTIONS[provider]
    if unknown:
        raise RuntimeError(f'Unknown provider option: "{unknown.pop()}".')
    if options.get("device_id", "0") != "0":
        raise RuntimeError("Invalid device ID")
    if options.get("arena_extend_strategy", ARENA[0]) not in ARENA or options.get("use_tf32", "0") not in ("0", "1"):
        raise RuntimeError("Failed to parse provider option")
    if provider == TENSORRT:
        _check_tensorrt(options)
    return True


def _check_tensorrt(options: dict[str, str]) -> None:
    for name in OPTIONS[TENSORRT]:
        if name.endswith("_enable") and options.get(name, "False") not in ("True", "False", "true", "false"):
            raise RuntimeError(f"[ERROR] [TensorRT] The value for the key '{name}' should be 'True' or 'False'.")
    folder = options.get("trt_engine_cache_path")
    if folder and not os.path.isdir(folder):
        os.mkdir(folder)  # not the folders above it
