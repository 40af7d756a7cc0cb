"""Running an engine. Source: NVIDIA's Python API reference, IExecutionContext; pyCore.cpp for what the setters take.

Two kinds of failure: what TensorRT notices it logs, and returns False. What it cannot notice (memory that was freed or
is too small, a context or its memory in two runs at once) is undefined there, mostly a CUDA error that ends all work of
the process: here a RuntimeError.
"""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import ctypes
from contextlib import suppress
from math import prod

from cuda_double.device import DEVICE, CudaError, Work

from .builder import SIZES
from .log import error, misuse
from .network import Dims
from .shapes import BadShapes
from .strict import RELEASE, NoConstructor

NUMPY = {"FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
ONNX = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(int32)": "int32"}
ONNX.update({"tensor(bool)": "bool", "tensor(int8)": "int8"})


class IExecutionContext(NoConstructor):
    """State of one execution. Its memory is its own, or given."""

    __slots__ = ("_engine", "_owned", "_memory", "_size", "_addresses", "_name", "_profile", "_given", "_last")

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
        """-1 for none."""
        return self._profile

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

    # -- shapes: those of the engine, once all inputs have theirs the ones that the run will have

    def get_tensor_shape(self, name: str) -> Dims:
        return self._shape(name)

    def get_binding_shape(self, binding: int) -> Dims:
        return self._shape(binding)

    def set_input_shape(self, name: str, shape: Dims) -> bool:
        return self._give("setInputShape", name, tuple(shape))

    def set_binding_shape(self, binding: int, shape: Dims) -> bool:
        return self._give("setBindingDimensions", binding, tuple(shape))

    @property
    def all_binding_shapes_specified(self) -> bool:
        return len(self._given) == len(self._engine._inputs())

    def _shape(self, key: int | str) -> Dims:
        name = self._engine._io(key, "name")
        if name is None:
            return Dims()
        actual = self._actual() if self.all_binding_shapes_specified else None
        return Dims((actual or self._given).get(name) or self._engine._io(name, "shape"))

    def _actual(self) -> dict[str, tuple[int, ...]] | None:
        """The shapes of a run; None, with an error in the log, where inputs contradict each other."""
        try:
            return self._engine._shapes_of(self._given)
        except BadShapes as problem:
            error(self._engine._logger, f"7: Error Code 7: Internal Error (inconsistent shapes: {problem})")
            return None

    def _give(self, function: str, key: int | str, shape: tuple[int, ...]) -> bool:
        """False, with an error in the log, for what is no input, and for shapes outside of the profile."""
        engine = self._engine
        name = engine._io(key, "name")
        least, _, largest = engine._head["profile"].get(name, [None] * 3)
        fitting = least is not None and len(shape) == len(least)
        if not fitting or not all(a <= size <= b for a, size, b in zip(least, shape, largest)):
            allowed = f"takes shapes from {least} to {largest}" if least else "is no input"
            misuse(engine._logger, f"{function}: {shape}, but {name} {allowed}")
            return False
        if self._profile < 0:
            misuse(engine._logger, f"{function}: the context has no optimization profile, another one uses it")
            return False
        self._given[name] = shape
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
        return bool(self._run(list(self._addresses.values()), int(stream_handle)))

    def execute_v2(self, bindings: list[int]) -> bool:
        """On the default stream; returns when it is done."""
        work = self._run(bindings, 0)
        if work:
            DEVICE.wait(work)
        return bool(work)

    def execute_async_v2(self, bindings: list[int], stream_handle: Size, input_consumed: object = None) -> bool:
        return bool(self._run(bindings, int(stream_handle)))

    def _run(self, addresses: list[int], stream: int) -> Work | None:
        """Queues it, with the addresses and shapes of now. Without a current context, CUDA would fall back to the
        primary one, which is right only if it happens to be the one in use: here it is an error."""
        io = self._engine._head["io"]
        if len(addresses) != len(io):
            raise RuntimeError(f"{len(addresses)} bindings for {len(io)}: TensorRT would read what is behind them")
        try:
            DEVICE.current()
            DEVICE.stream(stream)
        except CudaError as problem:
            error(self._engine._logger, f"1: Error Code 1: Cuda Runtime ({problem})")
            return None
        for name in [value["name"] for value in self._engine._inputs() if value["name"] not in self._given]:
            misuse(self._engine._logger, f"enqueue: the shape of the dynamic input {name} is not specified")
            return None
        shapes = self._actual()
        if shapes is None:
            return None
        for name in [value["name"] for value, address in zip(io, addresses) if not address]:
            misuse(self._engine._logger, f"enqueue: no address is set for {name}")
            return None
        if self._engine._head["memory"] and not self._memory:
            misuse(self._engine._logger, "enqueue: no device memory is set")
            return None
        memory, size, engine = self._memory if self._engine._head["memory"] else 0, self._size, self._engine

        def views() -> list[memoryview]:
            scratch = _scratch(memory, size)
            return [*(_memory(v, shapes[v["name"]], address) for v, address in zip(io, addresses)), scratch]

        def work() -> None:
            *tensors, scratch = views()
            scratch[:] = b"\xff" * len(scratch)
            compute(engine, shapes, tensors)

        views()
        for what, last in (("the context", self._last), (f"device memory at {memory:#x}", DEVICE.scratch.get(memory))):
            if last and not DEVICE.follows(stream, last):
                raise RuntimeError(f"{what} is used by a run on another stream, which nothing puts before this one")
        first = engine._inputs()[0]["name"]
        self._last = DEVICE.run(stream, work, (shapes[first] or (1,))[0])
        if memory:
            DEVICE.scratch[memory] = self._last
        return self._last

    def __del__(self) -> None:
        with suppress(AttributeError, CudaError):
            if self._profile == 0:
                self._engine._taken = False
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


def _scratch(memory: int, size: int) -> memoryview:
    """The reference: aligned to 256 bytes, of at least the engine's size."""
    if memory % 256:
        raise RuntimeError(f"device memory at {memory:#x} is not aligned to 256 bytes")
    return DEVICE.live(memory, size, "device memory") if memory else memoryview(bytearray())


def _memory(value: dict, shape: tuple[int, ...], address: int) -> memoryview:
    return DEVICE.live(address, prod(shape) * SIZES[value["type"]], value["name"])


def compute(engine, shapes: dict[str, tuple[int, ...]], memory: list[memoryview]) -> None:
    """Outputs of layers in half precision are rounded to it, in which order TensorRT would round within is unknown;
    INT8 from a calibration cache is not imitated."""
    import numpy as np

    session, head = _session(engine), engine._head
    types = {node.name: ONNX[node.type] for node in session.get_inputs()}
    feeds = {}
    for value, view in zip(head["io"], memory):
        if value["mode"] == "INPUT":
            content = np.frombuffer(bytes(view), NUMPY[value["type"]]).reshape(shapes[value["name"]])
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
