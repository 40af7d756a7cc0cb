"""The doubles of TensorRT and CUDA are as strict as what they stand for."""

from __future__ import annotations

import json
import re
import signal
import struct

import numpy as np
import pytest
from doubles.driving import (
    PICTURE,
    RELEASES,
    Builds,
    current,
    one_node,
    onnx_bytes,
    prepared,
    python,
    quantised,
    reference,
    small_model,
)
from onnx import TensorProto, helper

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
    "IExecutionContext.set_binding_shape": ("8.2", "8.6"),
    "IExecutionContext.set_input_shape": ("8.6", "10"),
    "ICudaEngine.get_profile_shape": ("8.2", "8.6"),
    "ICudaEngine.get_tensor_profile_shape": ("8.6", "10"),
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


# -- shapes that are only known at run time


def free_batch(builds: Builds, least: int = 1, best: int = 2, largest: int = 4):
    """A network of the small model whose batch is free, with a profile for it."""
    network = builds.parse(small_model()).network
    network.get_input(0).shape = (-1, 3, 8, 8)
    profile = builds.builder.create_optimization_profile()
    profile.set_shape("x", (least, 3, 8, 8), (best, 3, 8, 8), (largest, 3, 8, 8))
    builds.config.add_optimization_profile(profile)
    return network, profile


def build(builds: Builds, network) -> bytes | None:
    built = builds.builder.build_serialized_network(network, builds.config)
    return built and bytes(built)


@pytest.mark.parametrize("release", RELEASES)
def test_shapes_follow_from_those_of_inputs(load, release):
    builds = Builds(load(release)[0])
    network = builds.parse(small_model()).network
    stem, logits = network.get_layer(0).get_output(0), network.get_output(0)
    network.get_input(0).shape = (2, 3, 16, 16)
    assert stem.shape == (2, 8, 14, 14) and logits.shape == (2, 4) and not builds.said
    logits.shape = (3, 4)
    assert logits.shape == (2, 4) and "ERROR: 3" in builds.said[-1]
    engine = builds.engine(build(builds, network))
    assert engine.get_binding_shape(1) == (2, 4) if release == "8.2" else engine.get_tensor_shape("logits") == (2, 4)
    network.get_input(0).shape = (2, 3, 16)
    assert build(builds, network) is None and "invalid shapes" in builds.said[-1]


@pytest.mark.parametrize("release", RELEASES)
def test_profiles_must_fit_the_network(load, release):
    def refusal(change, *sizes: int) -> str:
        builds = Builds(load(release)[0])
        network, profile = free_batch(builds, *sizes)
        change(builds, network, profile)
        assert build(builds, network) is None
        return builds.said[-1]

    def other_input(_, network, profile) -> None:
        profile.set_shape("y", (1,), (1,), (1,))

    def fixed(_, network, profile) -> None:
        network.get_input(0).shape = (3, 3, 8, 8)

    def flat(_, network, profile) -> None:
        profile.set_shape("x", (1, 3), (1, 3), (1, 3))

    def nothing(builds, network, profile) -> None:
        profile._shapes.clear()

    assert "no optimization profile" in refusal(lambda *_: None, 3, 2, 4)  # was not taken
    assert "no network input" in refusal(other_input)
    assert "expected min=opt=max=3" in refusal(fixed)
    assert "2 dimensions, the network 4" in refusal(flat)
    assert "missing values" in refusal(nothing)
    profile = Builds(load(release)[0]).builder.create_optimization_profile()
    with pytest.raises(ValueError):
        profile.set_shape("x", (1,), (1, 2), (1, 2))


@pytest.mark.parametrize("release", RELEASES)
def test_a_free_batch_is_set_before_the_run(load, release):
    trt, driver = load(release)
    builds = Builds(trt)
    engine = builds.engine(build(builds, free_batch(builds)[0]))
    pictures = np.concatenate([PICTURE, 2 * PICTURE, -PICTURE])
    answers = np.zeros((3, 4), np.float32)
    with current(driver):
        sizes = {"x": pictures.nbytes, "logits": answers.nbytes, "sure": 12}
        memory = {name: driver.mem_alloc(size) for name, size in sizes.items()}
        context, stream = engine.create_execution_context(), driver.Stream()
        driver.memcpy_htod(memory["x"], pictures)

        def give(*shape: int) -> bool:
            return context.set_binding_shape(0, shape) if release == "8.2" else context.set_input_shape("x", shape)

        def shape() -> tuple:
            return context.get_binding_shape(1) if release == "8.2" else context.get_tensor_shape("logits")

        def run() -> bool:
            if release == "8.2":
                return context.execute_async_v2([int(m) for m in memory.values()], stream.handle)
            for name in memory:
                context.set_tensor_address(name, int(memory[name]))
            return context.execute_async_v3(stream.handle)

        least = engine.get_profile_shape(0, 0) if release == "8.2" else engine.get_tensor_profile_shape("x", 0)
        assert [tuple(sizes) for sizes in least] == [(1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)]
        assert shape() == (-1, 4) and not context.all_binding_shapes_specified
        assert not run() and "is not specified" in builds.said[-1]
        for wrong in ((5, 3, 8, 8), (0, 3, 8, 8), (2, 3, 8), (2, 3, 8, 9)):
            assert not give(*wrong) and "takes shapes from" in builds.said[-1]
        assert give(3, 3, 8, 8) and shape() == (3, 4) and context.all_binding_shapes_specified and run()
        stream.synchronize()
        driver.memcpy_dtoh(answers, memory["logits"])
        assert give(4, 3, 8, 8)
        with pytest.raises(RuntimeError, match="no 3072 bytes"):
            run()
        second = engine.create_execution_context()
        shared = release == "10"  # before, contexts of one engine do not share a profile
        assert second.active_optimization_profile == (0 if shared else -1)
        context = None
        assert engine.create_execution_context().active_optimization_profile == 0
    assert np.allclose(answers, np.concatenate([reference(small_model(), p[None]) for p in pictures]), atol=1e-5)


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


def test_a_killed_builder_dies_as_when_memory_runs_out(tmp_path):
    (tmp_path / "model.onnx").write_bytes(small_model())
    code = f"""import tensorrt as trt
log = trt.Logger()
builder = trt.Builder(log)
network = builder.create_network(1)
assert trt.OnnxParser(network, log).parse(open({str(tmp_path / "model.onnx")!r}, "rb").read())
builder.build_serialized_network(network, builder.create_builder_config())"""
    assert python(code, "8.2", fault="kill:sure").returncode == -signal.SIGKILL
