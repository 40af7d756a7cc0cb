"""How tests drive the doubles within their own process: small models, and every step from network to answer."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from doubles.environment import environment

RELEASES = ("8.2", "8.6", "10")
DOUBLED = ("tensorrt", "nvinfer_double", "cuda_double", "pycuda", "cuda")
PICTURE = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)


def onnx_bytes(nodes: list, inputs: dict, outputs: dict, weights: dict | None = None, opset: int = 13) -> bytes:
    """A model; inputs and outputs as name: (type, shape)."""
    values = [[helper.make_tensor_value_info(n, *v) for n, v in group.items()] for group in (inputs, outputs)]
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", *values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def small_model() -> bytes:
    """Convolution, activation, pooling, one matrix: float32 `logits` and a bool `sure`."""
    random = np.random.default_rng(1)
    weights = {
        "w": random.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "m": random.normal(size=(8, 4)).astype(np.float32),
        "zero": np.zeros(1, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/stem/Conv"),
        helper.make_node("Relu", ["c"], ["r"], name="/stem/Relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="/pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="/flat"),
        helper.make_node("MatMul", ["f", "m"], ["logits"], name="/head/MatMul"),
        helper.make_node("Greater", ["logits", "zero"], ["sure"]),
    ]
    outputs = {"logits": (TensorProto.FLOAT, [1, 4]), "sure": (TensorProto.BOOL, [1, 4])}
    return onnx_bytes(nodes, {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, outputs, weights)


def one_node(op: str, opset: int = 13, kind: int = TensorProto.FLOAT) -> bytes:
    return onnx_bytes([helper.make_node(op, ["x"], ["y"])], {"x": (kind, [1, 4])}, {"y": (kind, [1, 4])}, opset=opset)


def quantised(zero: int) -> bytes:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"], name="m"),
    ]
    weights = {"s": np.float32(0.1), "z": np.int8(zero), "w": np.eye(4, dtype=np.float32)}
    return onnx_bytes(nodes, {"x": (1, [1, 4])}, {"y": (1, [1, 4])}, {k: np.asarray(v) for k, v in weights.items()})


class Builds:
    """Parses and builds with one double; what was logged is in `said`."""

    def __init__(self, trt) -> None:
        said: list[str] = []

        class Log(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity, message) -> None:
                said.append(f"{severity.name}: {message}")

        self.trt, self.said, self.log = trt, said, Log()
        self.builder = trt.Builder(self.log)
        self.config = self.builder.create_builder_config()

    def network(self, flags: int | None = None):
        return self.builder.create_network(1 if flags is None else flags)

    def parse(self, model: bytes, flags: int | None = None):
        network = self.network(flags)
        parser = self.trt.OnnxParser(network, self.log)
        parsed = parser.parse(model)
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        return SimpleNamespace(network=network, parsed=parsed, text=" ".join(e.desc() for e in errors), errors=errors)

    def plan(self, model: bytes, flags: int | None = None) -> bytes | None:
        built = self.builder.build_serialized_network(self.parse(model, flags).network, self.config)
        return built and bytes(built)

    def engine(self, plan: bytes):
        return self.trt.Runtime(self.log).deserialize_cuda_engine(plan)


@contextlib.contextmanager
def current(driver):
    """A current primary context."""
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    try:
        yield
    finally:
        driver.Context.pop()
        context.detach()


def capsule(address: int):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(address, None, None)


def prepared(trt, driver, engine) -> SimpleNamespace:
    """A context with memory for all, and a way to run it with `picture`, PICTURE's copy; as each release wants it."""
    modern = hasattr(engine, "num_io_tensors")
    if modern:
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        kinds = [trt.nptype(engine.get_tensor_dtype(n)) for n in names]
        shapes = [tuple(engine.get_tensor_shape(n)) for n in names]
    else:
        names = [engine.get_binding_name(i) for i in range(engine.num_bindings)]
        kinds = [trt.nptype(engine.get_binding_dtype(n)) for n in names]
        shapes = [tuple(engine.get_binding_shape(i)) for i in range(len(names))]
    arrays = {n: np.zeros(shape, kind) for n, shape, kind in zip(names, shapes, kinds)}
    memory = {n: driver.mem_alloc(array.nbytes) for n, array in arrays.items()}
    scratch, stream, picture = driver.mem_alloc(engine.device_memory_size), driver.Stream(), PICTURE.copy()
    if hasattr(trt, "ExecutionContextAllocationStrategy"):
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(int(scratch), engine.device_memory_size_v2)
    else:
        context = engine.create_execution_context_without_device_memory()
        context.device_memory = int(scratch) if modern else capsule(int(scratch))

    def enqueue() -> bool:
        if not modern:
            return context.execute_async_v2([int(memory[n]) for n in names], stream.handle)
        for name in names:
            assert context.set_tensor_address(name, int(memory[name]))
        return context.execute_async_v3(stream.handle)

    def run() -> dict:
        driver.memcpy_htod_async(memory["x"], picture, stream)
        assert int(scratch) and enqueue()  # and so keeps the scratch memory
        for name in names[1:]:
            driver.memcpy_dtoh_async(arrays[name], memory[name], stream)
        stream.synchronize()
        return arrays

    made = {"context": context, "memory": memory, "scratch": scratch, "stream": stream, "picture": picture}
    return SimpleNamespace(**made, enqueue=enqueue, run=run)


def reference(model: bytes, picture: np.ndarray = PICTURE) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": picture})[0]


def python(code: str, *arguments: object, **where) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(*arguments, **where), capture_output=True, text=True, timeout=300)
