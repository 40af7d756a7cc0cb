"""From network to engine. Source: NVIDIA's Python API reference, Builder; the developer guide on precision.

TLEE_DOUBLE_FAULT, "WHAT" or "WHAT:OUTPUT" (then only of networks with an output of that name), makes builds fail:
kill (SIGKILL, as from the kernel when memory runs out), none (no engine, an error in the log), hang, and wrong (the
engine's float outputs are too large by a tenth).
"""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import ctypes
import os
import signal
import time
from math import prod

from cuda_double.device import DEVICE, CudaError

from .calibration import calibrate
from .config import IBuilderConfig
from .log import ILogger, error, misuse, warn
from .plan import pack
from .shapes import BadShapes, inferred
from .strict import RELEASE, NoConstructor, make, member

PLAN_MAGIC = b"DBLPLAN\0"
SIZES = {"FLOAT": 4, "HALF": 2, "INT32": 4, "INT64": 8, "INT8": 1, "BOOL": 1}
INT8_OPS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Add", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool")


class IHostMemory(NoConstructor):
    """Bytes with the buffer protocol, without a length of its own."""

    __slots__ = ()

    @property
    def nbytes(self) -> int:
        return ctypes.sizeof(self)

    @property
    def dtype(self):
        return member("DataType", "INT8")


def host_memory(content: bytes) -> IHostMemory:
    """A ctypes array, as only such give buffers below Python 3.12, with what real ones lack taken away."""

    def refuse(self: object, name: str, value: object) -> None:
        raise AttributeError(f"'IHostMemory' object has no attribute {name!r}")

    lacking = dict.fromkeys(("__len__", "__getitem__", "__setitem__", "__iter__"))
    bases = (RELEASE.types["IHostMemory"], ctypes.c_ubyte * len(content))
    own = {"__setattr__": refuse, "__init__": lambda self: None, "__bool__": lambda self: True}
    kind = type("IHostMemory", bases, {**lacking, **own})
    return kind.from_buffer_copy(content)


def open_device(logger: ILogger) -> None:
    """As CUDA's runtime: initialises the device and keeps its primary context from then on."""
    try:
        DEVICE.init()
    except CudaError as problem:
        error(logger, f"6: CUDA initialization failure with error: {problem.code}")
        raise TypeError("pybind11::init(): factory function returned nullptr") from None
    if not DEVICE.retained:
        DEVICE.retain()


class Builder:
    """Networks, configurations and engines of one device. Not constructed where there is none."""

    __slots__ = ("_logger", "_batch")

    def __init__(self, logger: ILogger) -> None:
        open_device(logger)
        self._logger, self._batch = logger, 1

    @property
    def logger(self) -> ILogger:
        return self._logger

    @property
    def platform_has_fast_fp16(self) -> bool:
        return DEVICE.properties["fast_fp16"]

    @property
    def platform_has_fast_int8(self) -> bool:
        return DEVICE.properties["fast_int8"]

    @property
    def platform_has_tf32(self) -> bool:
        return DEVICE.properties["tf32"]

    @property
    def num_DLA_cores(self) -> int:
        return DEVICE.properties["dla_cores"]

    @property
    def max_DLA_batch_size(self) -> int:
        return 4096 if self.num_DLA_cores else 0

    @property
    def max_batch_size(self) -> int:
        return self._batch

    @max_batch_size.setter
    def max_batch_size(self, size: int) -> None:
        self._batch = int(size)

    def create_network(self, flags: Size = 0) -> INetworkDefinition:
        known = RELEASE.types["NetworkDefinitionCreationFlag"].__members__
        typed = "STRONGLY_TYPED" in known and bool(flags >> int(known["STRONGLY_TYPED"]) & 1)
        explicit = not RELEASE.explicit_batch or bool(flags >> int(known["EXPLICIT_BATCH"]) & 1)
        parts = {"flags": int(flags), "typed": typed, "explicit": explicit, "layers": [], "inputs": [], "outputs": []}
        parts.update(model=b"", changed=False)
        return make("INetworkDefinition", logger=self._logger, name="Unnamed Network 0", **parts)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig._default(self._logger)

    def create_optimization_profile(self) -> IOptimizationProfile:
        return make("IOptimizationProfile", shapes={})

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        head = plan_head(network, config, self._logger)
        if head is None or not _survive(network, head, self._logger):
            return None
        config._time(head["layers"])
        return host_memory(pack(PLAN_MAGIC, head, network._model))

    def build_engine(self, network: INetworkDefinition, config: IBuilderConfig) -> ICudaEngine | None:
        plan = self.build_serialized_network(network, config)
        return plan and RELEASE.types["Runtime"](self._logger).deserialize_cuda_engine(plan)


def _survive(network, head: dict, logger: ILogger) -> bool:
    """The fault of the module's first lines, if it is for this network; False where it prevents the build."""
    what, _, output = os.environ.get("TLEE_DOUBLE_FAULT", "").partition(":")
    head["wrong"] = False
    if output and output not in [tensor._onnx for tensor in network._outputs]:
        return True
    if what not in ("", "kill", "none", "hang", "wrong"):
        raise ValueError(f"TLEE_DOUBLE_FAULT: there is no fault {what!r}")
    head["wrong"] = what == "wrong"
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        if "TLEE_DOUBLE_HANGS" in os.environ:
            open(os.environ["TLEE_DOUBLE_HANGS"], "w").close()  # so that a test knows
        time.sleep(600)
    if what == "none":
        error(logger, "2: Error Code 2: OutOfMemory (no further information)")
        error(logger, "10: Error Code 10: Could not find any implementation for a node due to insufficient memory")
    return what != "none"


def plan_head(network, config: IBuilderConfig, logger: ILogger) -> dict | None:
    """What the plan says besides the model; None, with an error in the log, if there is no engine to build."""
    if not network._outputs:
        error(logger, "4: Error Code 4: Internal Error (Network must have at least one output)")
        return None
    profile = _profile(network, config, logger) if network._infer() else None
    if profile is None:
        return None
    try:
        largest = inferred(network._model, {t._onnx: profile[t._name][2] for t in network._inputs})[1]
    except BadShapes as wrong:
        error(logger, f"4: Error Code 4: Internal Error (invalid shapes: {wrong})")
        return None
    problem = _contradiction(network, config)
    if problem:
        misuse(logger, problem)
        return None
    scales = _scales(network, config, logger)
    if scales is None:
        return None
    for flag, fast in (("FP16", "fast_fp16"), ("INT8", "fast_int8")):
        if config._has(flag) and not DEVICE.properties[fast]:
            warn(logger, f"{flag} support requested on hardware without native {flag} support, performance will suffer")
    layers = [describe(layer, precision(layer, network, config, scales)) for layer in network._layers]
    makers = {name: layer["precision"] for layer in layers for name in layer["outputs"]}
    tensors = {t._onnx: t for layer in network._layers for t in layer._outputs}
    inside = [t for t in tensors.values() if t._role is None]
    return {
        "version": list(RELEASE.version),
        "device": DEVICE.properties["name"],
        "capability": list(DEVICE.properties["capability"]),
        "name": network._name,
        "flags": config._flags,
        "verbosity": config._verbosity.name,
        "layers": reformats(layers, network._inputs) + fuse(layers, [t._onnx for t in network._outputs]),
        "shapes": {t._onnx: list(t._shape) for t in (*tensors.values(), *network._inputs)},
        "io": [
            {"name": t._name, "onnx": t._onnx, "mode": t._role.upper(), "type": t._type.name, "shape": list(t._shape)}
            for t in (*network._inputs, *network._outputs)
        ],
        "rounded": [t._onnx for t in network._outputs if makers.get(t._onnx) == "fp16"],
        "memory": sum(-(-max(prod(largest[t._onnx]), 1) * SIZES[t._type.name] // 512) * 512 for t in inside),
        "profile": profile,
    }


def _profile(network, config: IBuilderConfig, logger: ILogger) -> dict[str, list[list[int]]] | None:
    """Least, best and largest shape of each input. None, with an error in the log, if a profile lacks one or does not
    fit the network; that TensorRT refuses shapes for an input that there is not is this double's guess."""
    if len(config._profiles) > 1:
        raise AssertionError("this double builds engines with one optimisation profile")
    if any(-1 in tensor._shape for tensor in network._inputs) and not config._profiles:
        error(logger, "4: Network has dynamic or shape inputs, but no optimization profile has been defined.")
        return None
    for profile in (*config._profiles, *filter(None, [config._calibration])):
        problem = _misfit(network, profile._shapes)
        if problem:
            error(logger, f"4: Error Code 4: Internal Error ({problem})")
            return None
    given = config._profiles[0]._shapes if config._profiles else {}
    return {t._name: [list(s) for s in given.get(t._name, [t._shape] * 3)] for t in network._inputs}


def _misfit(network, shapes: dict) -> str:
    inputs = {tensor._name: tensor._shape for tensor in network._inputs}
    for name in shapes.keys() - inputs.keys():
        return f"{name}: optimization profile 0 has shapes of it, but it is no network input"
    for name, shape in inputs.items():
        if name not in shapes:
            if -1 in shape:
                return f"{name}: optimization profile is missing values"
            continue
        if len(shapes[name][0]) != len(shape):
            return f"{name}: optimization profile 0 has {len(shapes[name][0])} dimensions, the network {len(shape)}"
        for axis, (size, *sizes) in enumerate(zip(shape, *shapes[name])):
            if size != -1 and sizes != [size] * 3 or sizes != sorted(sizes) or sizes[0] < 0:
                wanted = f"expected min=opt=max={size}" if size != -1 else "expected 0<=min<=opt<=max"
                text = f"{name}: for dimension number {axis} in profile 0 does not match network definition (got "
                return text + "min={}, opt={}, max={}), {}".format(*sizes, wanted)
    return ""


def _contradiction(network, config: IBuilderConfig) -> str:
    """NetworkDefinitionCreationFlag.STRONGLY_TYPED: no precision flags. Developer guide, DLA: FP16 or INT8 only."""
    if network._typed and any(config._has(flag) for flag in ("FP16", "INT8", "BF16", "FP8")):
        return "precision flags are set, but the network is strongly typed"
    if config._device.name == "DLA" and not DEVICE.properties["dla_cores"]:
        return "the default device is DLA, but there are no DLA cores"
    if config._device.name == "DLA" and not (config._has("FP16") or config._has("INT8")):
        return "DLA only supports FP16 and INT8 precision"
    return ""


def _scales(network, config: IBuilderConfig, logger: ILogger) -> dict[str, float] | None:
    """INT8 without a calibrator is no error, as public logs show: a warning, and layers fall back."""
    quantised = any(layer._op == "DequantizeLinear" for layer in network._layers)
    if not config._has("INT8"):
        if quantised and not network._typed:
            error(logger, "4: Q/DQ layers need the flag INT8")  # developer guide: the builder flag has to be set
            return None
        return {}
    if quantised:
        return {}
    tensors = [t for layer in network._layers for t in (*layer._inputs, *layer._outputs)]
    floating = [t for t in tensors if t._type.name in ("FLOAT", "HALF")]
    if config._calibrator is None:
        scales = {t._onnx: max(map(abs, t._range)) / 127 for t in floating if t._range}
        if not scales:
            warn(logger, "Calibrator is not being used. Users must provide dynamic range for all tensors.")
    else:
        if config._calibration is None and any(-1 in tensor._shape for tensor in network._inputs):
            warn(logger, "Calibration Profile is not defined. Running calibration with Profile 0")
        scales = calibrate(config._calibrator, [t._name for t in network._inputs], logger)
    for name in dict.fromkeys(t._onnx for t in floating if scales is not None and t._onnx not in scales):
        warn(logger, f"Missing scale and zero-point for tensor {name}, expect fall back to non-int8 implementation")
    return scales


def precision(layer, network, config: IBuilderConfig, scales: dict[str, float]) -> str:
    """What a layer computes in. Wishes count only with one of the flags for them; TensorRT may choose otherwise in
    all else, this double always takes the lowest that is allowed."""
    outputs = [tensor._type.name for tensor in layer._outputs]
    if outputs[0] not in ("FLOAT", "HALF"):
        return {"BOOL": "bool", "INT8": "int8", "INT64": "int64"}.get(outputs[0], "int32")
    if network._typed:
        return "fp16" if outputs[0] == "HALF" else "fp32"
    names = {"FLOAT": "fp32", "HALF": "fp16", "INT8": "int8"}
    constrained = any(config._has(f"{how}_PRECISION_CONSTRAINTS") for how in ("OBEY", "PREFER"))
    if layer._precision is not None and (constrained or config._has("STRICT_TYPES")):
        return names[layer._precision.name]
    made_by = {t._onnx: other._op for other in network._layers for t in other._outputs}
    explicit = any(made_by.get(tensor._onnx) == "DequantizeLinear" for tensor in layer._inputs)
    implicit = all(tensor._onnx in scales for tensor in (*layer._inputs, *layer._outputs))
    if config._has("INT8") and layer._op in INT8_OPS and (explicit or (implicit and DEVICE.properties["fast_int8"])):
        return "int8"
    return "fp16" if config._has("FP16") or outputs[0] == "HALF" else "fp32"


def describe(layer, computes_in: str) -> dict:
    shape = list(layer._outputs[0]._shape)
    names = {"inputs": [t._onnx for t in layer._inputs], "outputs": [t._onnx for t in layer._outputs]}
    return {
        "name": layer._name,
        "nodes": [layer._name],
        "op": layer._op,
        "precision": computes_in,
        "shape": shape,
        **names,
    }


def fuse(layers: list[dict], outputs: list[str]) -> list[dict]:
    """As TensorRT always does: an activation becomes part of the convolution that only it reads. Names are joined."""
    fused: list[dict] = []
    for layer in layers:
        before = fused[-1] if fused else None
        readers = [other for other in layers if before and set(before["outputs"]) & set(other["inputs"])]
        alone = readers == [layer] and not set(before["outputs"]) & set(outputs) if before else False
        if alone and before["op"] == "Conv" and layer["op"] in ("Relu", "Clip"):
            name = f"{before['name']} + {layer['name']}"
            fused[-1] = {**before, "name": name, "nodes": before["nodes"] + layer["nodes"], "outputs": layer["outputs"]}
        else:
            fused.append(layer)
    return fused


def reformats(layers: list[dict], inputs: list) -> list[dict]:
    """The copies that TensorRT puts in front of layers that read a float32 input in lower precision."""
    floats = {tensor._onnx: list(tensor._shape) for tensor in inputs if tensor._type.name == "FLOAT"}
    found = []
    for layer in layers:
        for number, name in enumerate(layer["inputs"]):
            if name in floats and layer["precision"] in ("fp16", "int8"):
                rest = f"Input Tensor {number} to {layer['name']}"
                copy = {"name": f"Reformatting CopyNode for {rest}", "nodes": [], "op": "Reformat", "inputs": [name]}
                made = {"precision": layer["precision"], "outputs": [f"Reformatted {rest}"]}
                found.append({**copy, **made, "shape": floats[name], "of": name})
    return found
