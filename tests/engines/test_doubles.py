"""The doubles of TensorRT and CUDA are as strict as what they stand for."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import importlib
import inspect
import json
import os
import re
import signal
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from doubles.environment import environment
from onnx import TensorProto, helper, numpy_helper

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


@pytest.fixture
def load(monkeypatch):
    """A release's double and the driver's, in this process: their names are theirs until the test ends."""

    def loader(release: str | None, device: str = "desktop", cuda: str = "pycuda", fault: str | None = None, **changes):
        values = environment(release, device, cuda, fault, **changes)
        forget()
        for name in ("TLEE_DOUBLE_DEVICE", "TLEE_DOUBLE_FAULT"):
            monkeypatch.setenv(name, values.get(name, ""))
        monkeypatch.setattr(sys, "path", values["PYTHONPATH"].split(os.pathsep) + sys.path)
        driver = importlib.import_module("pycuda.driver" if cuda == "pycuda" else "cuda.bindings.driver")
        return importlib.import_module("tensorrt") if release else None, driver

    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in DOUBLED}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in DOUBLED]:
            del sys.modules[name]

    yield loader
    forget()
    sys.modules.update(kept)


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
    """A context with memory for all, and a way to run it with PICTURE; as each release wants it."""
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
    scratch, stream = driver.mem_alloc(engine.device_memory_size), driver.Stream()
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
        driver.memcpy_htod_async(memory["x"], PICTURE, stream)
        assert int(scratch) and enqueue()  # and so keeps the scratch memory
        for name in names[1:]:
            driver.memcpy_dtoh_async(arrays[name], memory[name], stream)
        stream.synchronize()
        return arrays

    return SimpleNamespace(context=context, memory=memory, scratch=scratch, stream=stream, enqueue=enqueue, run=run)


def reference(model: bytes) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"x": PICTURE})[0]


# -- what there is, and what there is not


HAS = {
    "IBuilderConfig.max_workspace_size": ("8.2", "8.6"),
    "IBuilderConfig.set_memory_pool_limit": ("8.6", "10"),
    "IBuilderConfig.builder_optimization_level": ("8.6", "10"),
    "IBuilderConfig.int8_calibrator": RELEASES,
    "BuilderFlag.STRICT_TYPES": ("8.2", "8.6"),
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS": RELEASES,
    "BuilderFlag.BF16": ("10",),
    "Builder.build_engine": ("8.2", "8.6"),
    "ICudaEngine.num_bindings": ("8.2", "8.6"),
    "ICudaEngine.num_io_tensors": ("8.6", "10"),
    "ICudaEngine.device_memory_size_v2": ("10",),
    "IExecutionContext.execute_async_v2": ("8.2", "8.6"),
    "IExecutionContext.execute_async_v3": ("8.6", "10"),
    "IExecutionContext.set_device_memory": ("10",),
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": ("10",),
    "DataType.INT64": ("10",),
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_has_its_members_and_no_others(load, release):
    trt, _ = load(release)
    found = {name for name in HAS if hasattr(getattr(trt, name.split(".")[0]), name.split(".")[1])}
    assert found == {name for name, releases in HAS.items() if release in releases}
    config = Builds(trt).config
    with pytest.raises(AttributeError):
        config.max_workspace = 1
    with pytest.raises(AttributeError):
        config.num_optimization_profiles = 1
    assert config.get_flag(trt.BuilderFlag.TF32) and config.flags == 1 << int(trt.BuilderFlag.TF32)


@pytest.mark.parametrize("release", RELEASES)
def test_arguments_of_other_types_are_refused(load, release):
    trt, _ = load(release)
    builds = Builds(trt)
    config = builds.config
    wrong = [
        lambda: config.set_flag(0),
        lambda: config.set_flag(trt.BuilderFlag.FP16, True),
        lambda: builds.builder.create_network(-1),
        lambda: builds.builder.create_network("1"),
        lambda: builds.builder.build_serialized_network(None, config),
        lambda: trt.Builder(3),
        lambda: trt.OnnxParser(builds.network(), builds.log).parse("model"),
        lambda: config.create_timing_cache(None),
        lambda: trt.INetworkDefinition(),
        lambda: 1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH,
    ]
    for call in wrong:
        with pytest.raises(TypeError):
            call()


def test_a_logger_must_call_the_base(load):
    trt, _ = load("8.2")

    class Log(trt.ILogger):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match="must be called"):
        Log()


def test_without_a_device_there_is_no_builder_and_no_cuda(load):
    trt, driver = load("8.2", "none")
    with pytest.raises(TypeError, match="nullptr"):
        trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
    with pytest.raises(driver.RuntimeError, match="no CUDA-capable device"):
        driver.init()


def test_what_tensorrt_rtx_has_too_is_called_the_same(load):
    rtx = pytest.importorskip("tensorrt_rtx")
    gone = {"max_DLA_batch_size", "num_DLA_cores", "DLA_core"}  # no DLA there
    trt, _ = load("10")
    for name in (
        "ILayer",
        "ITensor",
        "INetworkDefinition",
        "OnnxParser",
        "ParserError",
        "IExecutionContext",
        "Runtime",
    ):
        ours, theirs = ({m for m in dir(getattr(module, name)) if m[0] != "_"} for module in (trt, rtx))
        assert ours - gone - theirs <= {
            *("precision", "precision_is_set", "reset_precision", "set_output_type", "output_type_is_set"),
            *("reset_output_type", "dynamic_range", "set_dynamic_range", "reset_dynamic_range", "device_memory"),
            *("has_implicit_batch_dimension", "execute_v2"),
        }, name  # deprecated in 10: precision is the network's own there
    for name in ("LayerType", "TensorIOMode", "ProfilingVerbosity", "LayerInformationFormat", "MemoryPoolType"):
        theirs = {key: int(value) for key, value in getattr(rtx, name).__members__.items()}
        shared = {key: int(value) for key, value in getattr(trt, name).__members__.items() if key in theirs}
        assert shared and shared.items() <= theirs.items()


# -- parsing


@pytest.mark.parametrize("release", RELEASES)
def test_layers_are_named_as_nodes_and_typed_as_values(load, release):
    builds = Builds(load(release)[0])
    parsed = builds.parse(small_model())
    assert parsed.parsed, parsed.text
    network = parsed.network
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    assert [layer.name for layer in layers][-2:] == ["/head/MatMul", "node_of_sure"]
    assert [layer.get_output(0).dtype.name for layer in layers][-2:] == ["FLOAT", "BOOL"]
    assert network.get_input(0).shape == (1, 3, 8, 8) and not isinstance(network.get_input(0).shape, tuple)
    assert network.get_layer(99) is None and "ERROR: 3" in builds.said[-1]
    with pytest.raises(RuntimeError):
        layers[0].get_output(0).dtype = builds.trt.float16


def test_8_needs_explicit_batch(load):
    builds = Builds(load("8.2")[0])
    assert "explicit batch" in builds.parse(small_model(), flags=0).text
    assert Builds(load("10")[0]).parse(small_model(), flags=0).parsed


@pytest.mark.parametrize(
    "model, reason, takes",
    [
        (b"no model", "Failed to parse", ()),
        (one_node("Relu", opset=17), "opset 17", ("8.6", "10")),
        (one_node("HardSwish", opset=14), "HardSwish|opset", ()),
        (one_node("Relu", kind=TensorProto.INT32), "type|INT32", ()),
        (quantised(0), "", RELEASES),
        (quantised(3), "symmetric", ()),
        (onnx_bytes([helper.make_node("Relu", ["none"], ["y"])], {}, {"y": (1, [1])}), "none|input", ()),
    ],
    ids=["no model", "opset", "operator", "type", "symmetric", "asymmetric", "invalid"],
)
@pytest.mark.parametrize("release", RELEASES)
def test_the_parser_takes_what_the_release_takes(load, release, model, reason, takes):
    result = Builds(load(release)[0]).parse(model)
    assert result.parsed == (release in takes)
    if not result.parsed:
        assert re.search(reason, result.text), result.text
        assert result.errors[0].code().name.startswith(("MODEL_DESERIALIZE", "INVALID_", "UNSUPPORTED_"))


# -- building and running


@pytest.mark.parametrize("release", RELEASES)
def test_an_engine_computes_what_the_model_says(load, release):
    trt, driver = load(release)
    builds = Builds(trt)
    with current(driver):
        job = prepared(trt, driver, builds.engine(builds.plan(small_model())))
        result = job.run()
    assert np.array_equal(result["logits"], reference(small_model()))
    assert np.array_equal(result["sure"], result["logits"] > 0)


@pytest.mark.parametrize("release", RELEASES)
def test_half_precision_rounds_but_for_constrained_layers(load, release):
    trt, driver = load(release)
    results = {}
    with current(driver):
        for constrained in (False, True):
            builds = Builds(trt)
            builds.config.set_flag(trt.BuilderFlag.FP16)
            network = builds.parse(small_model()).network
            network.get_layer(4).precision = trt.float32
            if constrained:
                builds.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
            plan = builds.builder.build_serialized_network(network, builds.config)
            results[constrained] = prepared(trt, driver, builds.engine(plan)).run()["logits"]
    exact = reference(small_model())
    assert np.array_equal(results[True], exact)
    assert np.array_equal(results[False], exact.astype(np.float16).astype(np.float32))
    assert not np.array_equal(results[False], exact)


def test_strongly_typed_networks_take_no_precision(load):
    trt, _ = load("10")
    builds = Builds(trt)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    layer = builds.parse(small_model(), typed).network.get_layer(0)
    layer.precision = trt.float16
    assert not layer.precision_is_set and "strongly typed" in builds.said[-1]
    builds.config.set_flag(trt.BuilderFlag.FP16)
    assert builds.plan(small_model(), typed) is None


def test_host_memory_is_a_buffer_and_nothing_else(load):
    builds = Builds(load("8.2")[0])
    memory = builds.builder.build_serialized_network(builds.parse(small_model()).network, builds.config)
    assert len(bytes(memory)) == memory.nbytes == memoryview(memory).nbytes
    assert not isinstance(memory, bytes)
    for wrong in (lambda: len(memory), lambda: memory[0], lambda: memory + b""):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        memory.size = 1


@pytest.mark.parametrize("release", RELEASES)
def test_plans_are_bound_to_release_and_device(load, release):
    plan = Builds(load(release)[0]).plan(small_model())

    def refusal(*where, content=plan, **changes) -> str:
        builds = Builds(load(*where, **changes)[0])
        engine = builds.engine(content)
        return "" if engine and not builds.said else ("taken: " if engine else "") + " ".join(builds.said)

    other = {"8.2": "8.6", "8.6": "10", "10": "8.2"}[release]
    assert not refusal(release)
    assert "Version tag does not match" in refusal(other)
    assert "expecting compute 8.7 got compute 8.6" in refusal(release, "orin")
    assert refusal(release, name="NVIDIA GeForce RTX 3050").startswith("taken: WARNING: Using an engine plan")
    assert "Magic tag" in refusal(release, content=b"ONNX" + plan)
    assert "truncated" in refusal(release, content=plan[:-1])
    assert "truncated" in refusal(release, content=plan[:-40] + b"?" + plan[-39:])


def test_what_would_crash_is_an_error(load):
    trt, driver = load("8.6")
    builds = Builds(trt)
    plan = builds.plan(small_model())
    with current(driver):
        job = prepared(trt, driver, builds.engine(plan))
        fresh = job.context.engine.create_execution_context_without_device_memory()
        assert not fresh.execute_async_v3(job.stream.handle) and "no address" in builds.said[-1]
        for name, memory in job.memory.items():
            fresh.set_tensor_address(name, int(memory))
        assert not fresh.execute_async_v3(job.stream.handle) and "no device memory" in builds.said[-1]
        fresh.device_memory = int(job.scratch) + 8
        with pytest.raises(RuntimeError, match="aligned"):
            fresh.execute_async_v3(job.stream.handle)
        assert not job.context.set_tensor_address("nobody", 4)
        with pytest.raises(RuntimeError, match="3"):
            job.context.execute_v2([1])
        assert not job.context.execute_async_v2([int(m) for m in job.memory.values()], 12345)
        fresh.device_memory = int(job.scratch)
        assert fresh.execute_async_v3(job.stream.handle)
        job.memory["logits"].free()
        with pytest.raises(RuntimeError, match="logits"):
            fresh.execute_async_v3(job.stream.handle)


def test_8_2_wants_device_memory_as_a_capsule(load):
    trt, driver = load("8.2")
    builds = Builds(trt)
    context = builds.engine(builds.plan(small_model())).create_execution_context_without_device_memory()
    with pytest.raises(TypeError, match="capsule"):
        context.device_memory = 4096
    with pytest.raises(AttributeError):
        _ = context.device_memory


def test_running_needs_a_current_context(load):
    trt, driver = load("10")
    builds = Builds(trt)
    with current(driver):
        job = prepared(trt, driver, builds.engine(builds.plan(small_model())))
        job.run()
    assert not job.enqueue() and "invalid device context" in builds.said[-1]


def test_engines_take_device_memory(load):
    trt, driver = load("8.6", total=1 << 20, free=2000)
    builds = Builds(trt)
    engine = builds.engine(builds.plan(small_model()))
    assert engine.create_execution_context() is None and "out of memory" in builds.said[-1]
    assert builds.engine(bytes(engine.serialize())) is None


# -- INT8, timing, reports


def int8(builds: Builds, cache: bytes | None) -> bytes | None:
    class Calibrator(builds.trt.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            builds.trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names) -> None:
            builds.said.append("asked for a batch of " + ",".join(names))

        def read_calibration_cache(self) -> bytes | None:
            return cache

        def write_calibration_cache(self, cache) -> None:
            raise AssertionError("nothing was calibrated")

    builds.config.set_flag(builds.trt.BuilderFlag.INT8)
    builds.config.profiling_verbosity = builds.trt.ProfilingVerbosity.DETAILED
    builds.config.int8_calibrator = Calibrator()
    return builds.plan(small_model())


def layer_report(builds: Builds, plan: bytes) -> dict:
    inspector = builds.engine(plan).create_engine_inspector()
    return json.loads(inspector.get_engine_information(builds.trt.LayerInformationFormat.JSON))


@pytest.mark.parametrize("release, number", [("8.2", 8201), ("8.6", 8601), ("10", 100300)])
def test_calibration_caches_are_bound_to_the_release(load, release, number):
    lines = "".join(f"{name}: {struct.pack('>f', 0.1).hex()}\n" for name in "xcr")
    trt, _ = load(release)
    builds = Builds(trt)
    report = layer_report(builds, int8(builds, f"TRT-{number}-EntropyCalibration2\n{lines}".encode()))
    formats = [layer["Outputs"][0]["Format/Datatype"] for layer in report["Layers"] if "stem" in layer["Name"]]
    assert formats and all("int8" in text.lower() for text in formats)
    assert any("Missing scale and zero-point for tensor logits" in text for text in builds.said)
    for cache in (f"TRT-{number + 1}-EntropyCalibration2\n{lines}".encode(), None):
        builds = Builds(trt)
        assert int8(builds, cache) is None
        assert "asked for a batch of x" in builds.said and "no scaling factors" in builds.said[-1]


def test_int8_without_scales_is_a_warning(load):
    trt, _ = load("8.2", "nano")
    builds = Builds(trt)
    builds.config.set_flag(trt.BuilderFlag.INT8)
    assert builds.plan(small_model())
    assert any("Calibrator is not being used" in text for text in builds.said)
    assert any("INT8 support requested on hardware" in text for text in builds.said)


@pytest.mark.parametrize("release", RELEASES)
def test_timing_caches_are_bound_to_release_and_device(load, release):
    def times(*where, blob: bytes = b"") -> tuple:
        trt, _ = load(*where)
        builds = Builds(trt)
        cache = builds.config.create_timing_cache(blob)
        accepted = builds.config.set_timing_cache(cache, ignore_mismatch=False)
        before = len(bytes(cache.serialize()))
        assert builds.plan(small_model())
        return accepted, before, bytes(builds.config.get_timing_cache().serialize()) if accepted else b"", builds.said

    accepted, before, blob, _ = times(release)
    assert accepted and len(blob) > before
    assert times(release, blob=blob)[:3] == (True, len(blob), blob)
    for damaged, where in ((blob[:-2], release), (blob, "8.6" if release != "8.6" else "10")):
        accepted, again, _, said = times(where, blob=damaged)
        assert accepted and again < len(blob) and any("will not be used" in text for text in said)
    assert times(release, "orin", blob=blob)[0] is False


@pytest.mark.parametrize(
    "release, device, half, keys",
    [
        ("8.2", "nano", "Two wide channel vectorized row major FP16 format", set()),
        ("8.6", "desktop", "Channel major FP16 format where channel % 8 == 0", {"StreamId", "Metadata"}),
        ("10", "orin", "Half", {"StreamId", "Metadata"}),
    ],
)
def test_the_inspector_reports_as_the_release_does(load, release, device, half, keys):
    trt, _ = load(release, device)
    builds = Builds(trt)
    builds.config.set_flag(trt.BuilderFlag.FP16)
    names = layer_report(builds, builds.plan(small_model()))
    assert "/stem/Conv + /stem/Relu" in names["Layers"] and names["Bindings"] == ["x", "logits", "sure"]
    builds.config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    layers = {layer["Name"]: layer for layer in layer_report(builds, builds.plan(small_model()))["Layers"]}
    assert list(layers)[0].startswith("Reformatting CopyNode for Input Tensor 0")
    stem = layers["/stem/Conv + /stem/Relu"]
    assert stem["LayerType"] == "CaskConvolution" and stem["Outputs"][0]["Format/Datatype"] == half
    assert stem.keys() & {"StreamId", "Metadata"} == keys
    assert ("Location" in stem["Outputs"][0]) == bool(keys)
    if keys:
        assert stem["Metadata"] == "[ONNX Layer: /stem/Conv]\x1e[ONNX Layer: /stem/Relu]"


# -- faults


def test_faults_hit_the_networks_they_name(load):
    exact = reference(small_model())
    for fault, builds_one in (("none", False), ("none:logits", False), ("none:other", True)):
        builds = Builds(load("8.2", fault=fault)[0])
        assert bool(builds.plan(small_model())) == builds_one
        assert builds_one or "memory" in builds.said[-1]
    trt, driver = load("8.6", fault="wrong:sure")
    builds = Builds(trt)
    with current(driver):
        wrong = prepared(trt, driver, builds.engine(builds.plan(small_model()))).run()["logits"]
    assert np.allclose(wrong, 1.1 * exact, rtol=1e-5)


def python(code: str, *arguments: object, **where) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment(*arguments, **where), capture_output=True, text=True, timeout=60)


def test_a_killed_builder_dies_as_when_memory_runs_out(tmp_path):
    (tmp_path / "model.onnx").write_bytes(small_model())
    code = f"""import tensorrt as trt
log = trt.Logger()
builder = trt.Builder(log)
network = builder.create_network(1)
assert trt.OnnxParser(network, log).parse(open({str(tmp_path / "model.onnx")!r}, "rb").read())
builder.build_serialized_network(network, builder.create_builder_config())"""
    assert python(code, "8.2", fault="kill:sure").returncode == -signal.SIGKILL


# -- CUDA


def test_a_context_left_on_pycudas_stack_aborts():
    start = "import pycuda.driver as d, threading; d.init(); c = d.Device(0).retain_primary_context(); "
    thread = "t = threading.Thread(target=c.push); t.start(); t.join(); print('not reached')"
    for code, said in ((start + "c.push(); print('done')", "done\n"), (start + thread, "")):
        left = python(code, None)
        assert left.stdout == said and left.returncode == -signal.SIGABRT
        assert "context stack was not empty" in left.stderr
    assert python(start + "c.push(); d.Context.pop(); c.detach()", None).returncode == 0


def test_what_is_not_asked_for_is_not_installed():
    code = """import importlib
for name in ("tensorrt", "pycuda.driver", "cuda.bindings.driver"):
    try:
        importlib.import_module(name)
        print(name)
    except ImportError:
        pass"""
    assert python(code, None, cuda=None).stdout == ""
    assert python(code, "10", cuda="cuda_python").stdout.split() == ["tensorrt", "cuda.bindings.driver"]


def test_pycuda_needs_a_context_and_live_memory(load):
    _, driver = load(None, "nano", free=1 << 20)
    with pytest.raises(driver.LogicError, match="initialization error"):
        driver.Device(0)
    driver.init()
    with pytest.raises(driver.LogicError, match="no currently active context"):
        driver.Stream()
    with pytest.raises(driver.LogicError, match="invalid device context"):
        driver.mem_alloc(4)
    with current(driver):
        device = driver.Device(0)
        assert device.name() == "NVIDIA Tegra X1" and device.compute_capability() == (5, 3)
        assert device.get_attribute(driver.device_attribute.INTEGRATED) == 1
        with pytest.raises(driver.MemoryError):
            driver.mem_alloc(2 << 20)
        memory, stream = driver.mem_alloc(64), driver.Stream()
        assert driver.mem_get_info()[0] == (1 << 20) - 64
        source, back = np.arange(8, dtype=np.float32).reshape(2, 4), driver.pagelocked_empty((2, 4), np.float32)
        driver.memcpy_htod_async(int(memory) + 32, source, stream)
        driver.memcpy_dtoh_async(back, int(memory) + 32, stream)
        stream.synchronize()
        assert np.array_equal(back, source)
        for size in (64, 8):
            with pytest.raises(driver.LogicError, match="invalid argument"):
                driver.memcpy_htod(int(memory) + 64 - size // 2, np.zeros(size, np.uint8))
        with pytest.raises(ValueError):
            driver.memcpy_htod(memory, source.T)
        memory.free()
        with pytest.raises(driver.LogicError):
            driver.memcpy_dtoh(back, int(memory))
        mapped = driver.pagelocked_zeros(4, np.float32, mem_flags=driver.host_alloc_flags.DEVICEMAP)
        driver.memcpy_htod(mapped.base.get_device_pointer(), np.ones(4, np.float32))
        assert mapped.sum() == 4
    with pytest.raises(driver.LogicError, match="cannot pop non-current"):
        driver.Context.pop()


def test_cuda_python_returns_statuses(load):
    _, cuda = load(None, "orin", "cuda_python")
    ok, result = cuda.CUresult.CUDA_SUCCESS, cuda.CUresult
    assert cuda.cuDeviceGet(0) == (result.CUDA_ERROR_NOT_INITIALIZED, None)
    assert cuda.cuInit(0) == (ok,)
    device = cuda.cuDeviceGet(0)[1]
    assert cuda.cuDeviceGetName(256, device)[1].split(b"\0")[0] == b"Orin"
    assert cuda.cuMemAlloc(4) == (result.CUDA_ERROR_INVALID_CONTEXT, None)
    context = cuda.cuDevicePrimaryCtxRetain(device)[1]
    assert cuda.cuCtxPushCurrent(context) == (ok,)
    source, back = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
    memory, stream = cuda.cuMemAlloc(16)[1], cuda.cuStreamCreate(0)[1]
    assert cuda.cuMemcpyHtoDAsync(memory, source.ctypes.data, 16, stream) == (ok,)
    assert cuda.cuMemcpyDtoHAsync(back.ctypes.data, memory, 16, stream) == (ok,)
    assert np.array_equal(back, source)
    assert cuda.cuMemcpyDtoH(back.ctypes.data, memory, 17) == (result.CUDA_ERROR_INVALID_VALUE,)
    assert cuda.cuMemFree(memory) == (ok,) and cuda.cuMemFree(memory) == (result.CUDA_ERROR_INVALID_VALUE,)
    assert cuda.cuStreamDestroy(stream) == (ok,)
    assert cuda.cuStreamSynchronize(stream) == (result.CUDA_ERROR_INVALID_HANDLE,)
    assert cuda.cuGetErrorString(result.CUDA_ERROR_OUT_OF_MEMORY)[1] == b"out of memory"
    with pytest.raises(TypeError):
        cuda.cuMemAlloc(1.5)
    assert cuda.cuCtxPopCurrent() == (ok, context) and cuda.cuDevicePrimaryCtxRelease(device) == (ok,)


def test_cuda_python_is_called_as_the_real_one(load):
    real = pytest.importorskip("cuda.bindings.driver")
    _, double = load(None, cuda="cuda_python")
    functions = {name: f for name, f in vars(double).items() if name.startswith("cu") and inspect.isfunction(f)}
    assert len(functions) > 25
    for name, function in functions.items():
        said = getattr(real, name).__doc__.split("\n")[0].split("(")[1].rstrip(")")
        theirs = [part.split(":")[0].split()[-1] for part in said.split(",") if part.strip()]
        assert list(inspect.signature(function).parameters) == theirs, name
    for name in ("CUresult", "CUdevice_attribute"):
        for key, value in getattr(double, name).__members__.items():
            assert int(getattr(getattr(real, name), key)) == value
    assert issubclass(double.CUresult, enum.IntEnum) and int(double.CUstream(7)) == int(real.CUstream(7))


def test_changes_name_properties_of_devices():
    with pytest.raises(TypeError, match="cores"):
        environment("8.2", cores=2)
    with pytest.raises(ValueError, match="9.0"):
        environment("9.0")
    assert onnx.checker.check_model(onnx.load_from_string(small_model())) is None
