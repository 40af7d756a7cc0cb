"""Running an engine. Source: NVIDIA's Python API reference, IExecutionContext; pyCore.cpp for what the setters take.

Two kinds of failure: what TensorRT notices it logs, and returns False. What it cannot notice (memory that was freed or
is too small) is undefined there, mostly a CUDA error that ends all work of the process: here a RuntimeError.
"""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import ctypes
from contextlib import suppress
from math import prod

from cuda_double.device import DEVICE, CudaError

from .builder import SIZES
from .log import error, misuse
from .network import Dims
from .strict import RELEASE, NoConstructor

NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
ONNX = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32"}
ONNX.update({"tensor(bool)": "bool", "tensor(int8)": "int8"})


class IExecutionContext(NoConstructor):
    """State of one execution. Its memory is its own, or given."""

    __slots__ = ("_engine", "_owned", "_memory", "_size", "_addresses", "_name")

    @property
    def engine(self) -> ICudaEngine:
        return self._engine

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def active_optimization_profile(self) -> int:
        return 0

    def _set_memory(self, memory: object) -> None:
        """A capsule in 8.2, whose binding passes a `void*` (pybind11 makes none of an int); an int later."""
        if RELEASE.capsule:
            self._memory = _capsule(memory)
        elif hasattr(memory, "__index__"):
            self._memory = memory.__index__()
        else:
            raise TypeError(f"device_memory: incompatible function arguments: {memory!r}")
        self._size = self._engine._head["memory"]

    device_memory = property(None, _set_memory, doc="Can only be set.")

    def set_device_memory(self, memory: Size, size: Size) -> None:
        if size < self._engine._head["memory"]:
            misuse(self._engine._logger, f"setDeviceMemoryV2: {size} bytes, {self._engine._head['memory']} are needed")
            return
        self._memory, self._size = int(memory), int(size)

    def get_tensor_shape(self, name: str) -> Dims:
        return self._engine.get_tensor_shape(name)

    def get_binding_shape(self, binding: int) -> Dims:
        return self._engine.get_binding_shape(binding)

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        known = self._engine._io(name, "shape")
        if known is None or tuple(known) != tuple(shape):
            misuse(self._engine._logger, f"setInputShape: {name} has the shape {known}")
            return False
        return True

    def set_tensor_address(self, name: str, memory: Size) -> bool:
        if name not in self._addresses:
            misuse(self._engine._logger, f"setTensorAddress: there is no input or output {name}")
            return False
        self._addresses[name] = int(memory)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: Size) -> bool:
        return self._run(list(self._addresses.values()), int(stream_handle))

    def execute_v2(self, bindings: list[int]) -> bool:
        return self._run(bindings, 0)

    def execute_async_v2(self, bindings: list[int], stream_handle: Size, input_consumed: object = None) -> bool:
        return self._run(bindings, int(stream_handle))

    def _run(self, addresses: list[int], stream: int) -> bool:
        """Without a current context, CUDA would fall back to the primary one, which is right only if it happens to be
        the one in use: here it is an error."""
        io = self._engine._head["io"]
        if len(addresses) != len(io):
            raise RuntimeError(f"{len(addresses)} bindings for {len(io)}: TensorRT would read what is behind them")
        try:
            DEVICE.current()
            DEVICE.stream(stream)
        except CudaError as problem:
            error(self._engine._logger, f"1: Error Code 1: Cuda Runtime ({problem})")
            return False
        for name in [value["name"] for value, address in zip(io, addresses) if not address]:
            misuse(self._engine._logger, f"enqueue: no address is set for {name}")
            return False
        if self._engine._head["memory"] and not self._memory:
            misuse(self._engine._logger, "enqueue: no device memory is set")
            return False
        self._scratch()
        compute(self._engine, [_memory(value, address) for value, address in zip(io, addresses)])
        return True

    def _scratch(self) -> None:
        """The reference: aligned to 256 bytes, of at least the engine's size. Its content is lost."""
        if not self._engine._head["memory"]:
            return
        if self._memory % 256:
            raise RuntimeError(f"device memory at {self._memory:#x} is not aligned to 256 bytes")
        _live(self._memory, self._size, "device memory")[:] = b"\xff" * self._size

    def __del__(self) -> None:
        with suppress(AttributeError, CudaError):
            if self._owned:
                DEVICE.free(self._owned)


def _capsule(memory: object) -> int:
    if memory is None:
        return 0
    if type(memory).__name__ != "PyCapsule":
        raise TypeError(f"device_memory: incompatible function arguments: not a capsule, but {memory!r}")
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return api.PyCapsule_GetPointer(memory, api.PyCapsule_GetName(memory))


def _live(address: int, size: int, what: str) -> memoryview:
    try:
        return DEVICE.view(address, size)
    except CudaError:
        raise RuntimeError(f"{what}: at {address:#x} are no {size} bytes of live device memory") from None


def _memory(value: dict, address: int) -> memoryview:
    return _live(address, prod(value["shape"]) * SIZES[value["type"]], value["name"])


def compute(engine, memory: list[memoryview]) -> None:
    """Outputs of layers in half precision are rounded to it, in which order TensorRT would round within is unknown;
    INT8 from a calibration cache is not imitated."""
    import numpy as np

    session, head = _session(engine), engine._head
    types = {node.name: ONNX[node.type] for node in session.get_inputs()}
    feeds = {}
    for value, view in zip(head["io"], memory):
        if value["mode"] == "INPUT":
            content = np.frombuffer(bytes(view), NUMPY[value["type"]]).reshape(value["shape"])
            feeds[value["onnx"]] = content.astype(types[value["onnx"]])
    outputs = [(v, view) for v, view in zip(head["io"], memory) if v["mode"] == "OUTPUT"]
    for (value, view), result in zip(outputs, session.run([v["onnx"] for v, _ in outputs], feeds)):
        if result.dtype.kind == "f":
            result = result * result.dtype.type(1.1) if head["wrong"] else result
            result = result.astype(np.float16) if value["onnx"] in head["rounded"] else result
        view[:] = np.ascontiguousarray(result.astype(NUMPY[value["type"]])).tobytes()


def _session(engine):
    if engine._session is None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        engine._session = onnxruntime.InferenceSession(engine._model, options, providers=["CPUExecutionProvider"])
    return engine._session
