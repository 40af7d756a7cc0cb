"""What differs between the releases of TensorRT. No other module asks for a version number.

A class per interface: 8.2 (JetPack 4.6), 8.4 to 8.6 (JetPack 5), 10 (JetPack 6), 11 and TensorRT-RTX. `load` chooses.
Sources: NVIDIA's Python API reference of each release, and the notes on migrating from 8 to 10.
"""

import ctypes
import importlib
import re
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Tuple, Type

from tlee.calibration_cache import for_release
from tlee.errors import EngineError, UsageError

MODULES = {"tensorrt": "tensorrt", "rtx": "tensorrt_rtx"}
INSTALL = {
    "tensorrt": "it comes with JetPack; in a virtual environment, make that with --system-site-packages",
    "rtx": "pip install tensorrt_rtx",
}
FREE = -1  # a dimension that is not known before an engine runs
REPORT = "report it with the bundle's tlee-info and this line"


class Settings(NamedTuple):
    """How to build one engine.

    Attributes:
        workspace: bytes of scratch memory that a layer may take.
        fp16, int8: let layers compute in these; for releases that are not `typed`.
        fp32_layers: beginnings of names of layers that compute in float32 nevertheless.
        cache: calibration cache, of any release, for implicit INT8; for releases that `calibrate`.
        timing: what `Built.timing` was, to be used again.
        dla: the deep learning accelerator to build for; what it cannot do, the GPU does.
        batch: the most videos that the engine computes at once. One: all its shapes are fixed.
    """

    workspace: int
    fp16: bool = False
    int8: bool = False
    fp32_layers: Tuple[str, ...] = ()
    cache: Optional[bytes] = None
    timing: Optional[bytes] = None
    dla: Optional[int] = None
    batch: int = 1


class Built(NamedTuple):
    """A serialised engine, in TensorRT's own memory, and the timing cache, if the release has one."""

    engine: Any
    timing: Optional[Any]


class Value(NamedTuple):
    """An input or output of an engine, always float32. In engines for several videos its shape begins with -1, but for
    inputs that all videos share."""

    name: str
    shape: Tuple[int, ...]
    is_input: bool


class TensorRT:
    """The interface of TensorRT 10.

    Attributes:
        typed: layers compute in the types that the ONNX says, and in no other.
        calibrates: takes calibration caches.
        portable: engines run on other GPUs, too.
        notes: what the user should know of this release.
    """

    product = "TensorRT"
    typed = False
    calibrates = True
    portable = False

    if TYPE_CHECKING:  # so that mypy holds this class to the published stubs of TensorRT 10
        import tensorrt as trt

    def __init__(self, module: Any) -> None:
        self.trt = module
        self.version: str = module.__version__
        self.name = f"{self.product} {self.version}"
        self.notes: List[str] = []
        self._log = _log(module)
        self._runtime: Any = None

    # -- the machine

    def fast(self) -> Dict[str, bool]:
        """Whether the GPU computes faster in a precision than in float32."""
        builder = self.trt.Builder(self._log)
        return {"fp16": builder.platform_has_fast_fp16, "int8": builder.platform_has_fast_int8}

    def dla_cores(self) -> int:
        return self.trt.Builder(self._log).num_DLA_cores

    # -- ONNX to engine

    def build(self, onnx: bytes, settings: Settings) -> Built:
        """Parse and build.

        Raises:
            EngineError: TensorRT does not take the model, or finds no way to compute it; with its own words.
        """
        builder = self.trt.Builder(self._log)
        network = self._network(builder)
        self._parse(network, onnx)
        config = builder.create_builder_config()
        self._configure(config, settings)
        self._set_sizes(builder, config, network, settings)
        if settings.fp16 or settings.int8:
            self._constrain(config, network, settings.fp32_layers)
        timing = self._set_timing(config, settings.timing)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise EngineError(self.name, f"built no engine: {self._said()}", REPORT)
        return Built(engine, timing.serialize() if timing else None)

    def _network(self, builder: "trt.Builder") -> "trt.INetworkDefinition":
        return builder.create_network(0)

    def _parse(self, network: "trt.INetworkDefinition", onnx: bytes) -> None:
        parser = self.trt.OnnxParser(network, self._log)
        if not parser.parse(onnx):
            errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
            raise EngineError(self.name, "does not take the model: {}".format("; ".join(errors)), REPORT)

    def _configure(self, config: "trt.IBuilderConfig", settings: Settings) -> None:
        flag = self.trt.BuilderFlag
        self._set_workspace(config, settings.workspace)
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED  # for the layer report; costs no speed
        config.clear_flag(flag.TF32)  # what is called float32 is float32
        if settings.fp16:
            config.set_flag(flag.FP16)
        if settings.int8:
            config.set_flag(flag.INT8)
        if settings.cache is not None:
            config.int8_calibrator = self._calibrator(settings.cache)
        if settings.dla is not None:
            self._set_dla(config, settings.dla)

    def _set_sizes(
        self,
        builder: "trt.Builder",
        config: "trt.IBuilderConfig",
        network: "trt.INetworkDefinition",
        settings: Settings,
    ) -> None:
        """How many videos: one, or up to so many, and then fastest for that number."""
        inputs = [network.get_input(i) for i in range(network.num_inputs)]
        inputs = [tensor for tensor in inputs if _plain(tensor.shape)[0] == FREE]
        if settings.batch == 1:
            for tensor in inputs:
                tensor.shape = self._for(1, tensor)
            return
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            one, most = self._for(1, tensor), self._for(settings.batch, tensor)
            profile.set_shape(tensor.name, one, most, most)
        config.add_optimization_profile(profile)
        if settings.cache is not None:
            config.set_calibration_profile(profile)

    def _for(self, videos: int, tensor: "trt.ITensor") -> "trt.Dims":
        return self.trt.Dims([videos] + list(_plain(tensor.shape)[1:]))

    def _set_workspace(self, config: "trt.IBuilderConfig", size: int) -> None:
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, size)

    def _set_dla(self, config: "trt.IBuilderConfig", core: int) -> None:
        config.default_device_type = self.trt.DeviceType.DLA
        config.DLA_core = core
        config.set_flag(self.trt.BuilderFlag.GPU_FALLBACK)

    def _constrain(
        self, config: "trt.IBuilderConfig", network: "trt.INetworkDefinition", prefixes: Tuple[str, ...]
    ) -> None:
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        chosen = _with_helpers(layers, prefixes)
        for layer in chosen:
            outputs = range(layer.num_outputs)
            if all(layer.get_output(i).dtype == self.trt.float32 for i in outputs):  # a comparison's are not
                layer.precision = self.trt.float32
                for i in outputs:
                    layer.set_output_type(i, self.trt.float32)
        if chosen:
            flag = self.trt.BuilderFlag
            # Sources disagree on whether 8.2 has the newer name yet.
            name = "OBEY_PRECISION_CONSTRAINTS" if hasattr(flag, "OBEY_PRECISION_CONSTRAINTS") else "STRICT_TYPES"
            config.set_flag(getattr(flag, name))

    def _calibrator(self, cache: bytes) -> Any:
        base, content = self.trt.IInt8EntropyCalibrator2, for_release(cache, self.version)

        class FromCache(base):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                base.__init__(self)

            def get_batch_size(self) -> int:
                return 1

            def get_batch(self, names: List[str]) -> None:
                return None  # there are no pictures here: all is in the cache

            def read_calibration_cache(self) -> bytes:
                return content

            def write_calibration_cache(self, cache: Any) -> None:
                pass

        return FromCache()

    def _set_timing(self, config: "trt.IBuilderConfig", timing: Optional[bytes]) -> Any:
        """The cache that layers' times go into, so that the next engine need not take them again."""
        cache = config.create_timing_cache(timing or b"")
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            cache = config.create_timing_cache(b"")  # of another release: start anew
            config.set_timing_cache(cache, ignore_mismatch=False)
        return cache

    # -- engine to answers

    def deserialize(self, content: bytes) -> Any:
        """An engine from its file's content, which must come from here: TensorRT runs what is in it.

        Raises:
            EngineError: it was built by another release or for another device.
        """
        self._runtime = self._runtime or self.trt.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EngineError(self.name, f"does not take the engine: {self._said()}", "build it again here")
        return engine

    def values(self, engine: "trt.ICudaEngine") -> List[Value]:
        """Inputs and outputs in the engine's order."""
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT for name in names]
        return [Value(n, _plain(engine.get_tensor_shape(n)), i) for n, i in zip(names, inputs)]

    def scratch(self, engine: "trt.ICudaEngine") -> int:
        """Bytes of device memory that a context of the engine needs while it runs, and that contexts may share."""
        return engine.device_memory_size_v2

    def context(self, engine: "trt.ICudaEngine", scratch: int, size: int) -> Any:
        """An execution context that uses device memory at the address `scratch`, of so many bytes."""
        context = engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(scratch, size)
        return context

    def set_batch(self, context: "trt.IExecutionContext", values: List[Value], batch: int) -> None:
        """Say how many videos the next runs are for. Nothing to do in engines for one.

        Raises:
            EngineError: TensorRT refuses.
        """
        for i, value in enumerate(values):
            if value.is_input and value.shape[0] == FREE and not self._set_shape(context, i, value, batch):
                text = f"takes no {batch} videos at once: {self._said()}"
                raise EngineError(self.name, text, f"build with --batch {batch}")

    def _set_shape(self, context: "trt.IExecutionContext", number: int, value: Value, batch: int) -> bool:
        return context.set_input_shape(value.name, (batch,) + value.shape[1:])

    def enqueue(
        self, context: "trt.IExecutionContext", values: List[Value], addresses: Dict[str, int], stream: int
    ) -> None:
        """Queue one run on a CUDA stream.

        Args:
            addresses: in device memory, of each of the engine's values.

        Raises:
            EngineError: TensorRT refuses.
        """
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(stream):
            raise EngineError(self.name, f"does not run: {self._said()}", REPORT)

    def layers(self, engine: "trt.ICudaEngine") -> str:
        """What the engine inspector says of the layers, JSON."""
        inspector = engine.create_engine_inspector()
        return inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)

    def _said(self) -> str:
        """What TensorRT logged as errors, on one line, short enough to read."""
        return "; ".join(self._log.errors)[:400] or "it gave no reason"


class TensorRT8(TensorRT):
    """8.4 to 8.6: networks with an explicit batch on request, values by number instead of name."""

    if TYPE_CHECKING:
        trt: Any  # the stubs are those of 10

    def _network(self, builder: Any) -> Any:
        return builder.create_network(1 << int(self.trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))

    def values(self, engine: Any) -> List[Value]:
        numbers = range(engine.num_bindings)
        names = [engine.get_binding_name(i) for i in numbers]
        return [
            Value(n, tuple(engine.get_binding_shape(i)), engine.binding_is_input(i)) for i, n in zip(numbers, names)
        ]

    def scratch(self, engine: Any) -> int:
        return engine.device_memory_size

    def context(self, engine: Any, scratch: int, size: int) -> Any:
        context = engine.create_execution_context_without_device_memory()
        try:
            context.device_memory = scratch
        except TypeError:  # 8.2 and perhaps 8.4 take pointers only as Python's C interface hands them on
            context.device_memory = _capsule(scratch)
        return context

    def _set_shape(self, context: Any, number: int, value: Value, batch: int) -> bool:
        return context.set_binding_shape(number, (batch,) + value.shape[1:])

    def enqueue(self, context: Any, values: List[Value], addresses: Dict[str, int], stream: int) -> None:
        if not context.execute_async_v2([addresses[value.name] for value in values], stream):
            raise EngineError(self.name, f"does not run: {self._said()}", REPORT)


class TensorRT82(TensorRT8):
    """8.2 and 8.3, as on the Jetson Nano: the workspace has an attribute of its own."""

    def _set_workspace(self, config: Any, size: int) -> None:
        config.max_workspace_size = size


class TensorRT11(TensorRT):
    """From 11 on, precision is what the ONNX says; flags, constraints and calibration are gone."""

    typed = True
    calibrates = False

    def fast(self) -> Dict[str, bool]:
        return {"fp16": True, "int8": True}  # no GPU that it supports lacks them


class TensorRTRTX(TensorRT11):
    """Compiles for all RTX GPUs at once, on any machine, without timing anything: the GPU's driver does the rest."""

    product = "TensorRT-RTX"
    portable = True

    def _set_timing(self, config: Any, timing: Optional[bytes]) -> Any:
        return None


class _Known(NamedTuple):
    since: Tuple[int, int]
    interface: Optional[Type[TensorRT]]  # None: not supported


KNOWN = {
    "tensorrt": [
        _Known((8, 2), TensorRT82),
        _Known((8, 4), TensorRT8),
        _Known((9, 0), None),  # without what is asked of 10.1 here
        _Known((10, 1), TensorRT),
        _Known((11, 0), TensorRT11),
    ],
    "rtx": [_Known((1, 0), TensorRTRTX)],
}


def load(target: str) -> TensorRT:
    """The TensorRT that is installed.

    Args:
        target: "tensorrt" or "rtx".

    Raises:
        UsageError: none is, or one that is too old.
    """
    try:
        module = importlib.import_module(MODULES[target])
        version = str(module.__version__)  # type stubs alone look like a module without contents
    except (ImportError, AttributeError):
        raise UsageError(MODULES[target], "not installed", INSTALL[target]) from None
    numbers = tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])
    fitting = [known for known in KNOWN[target] if known.since <= numbers]
    if not fitting:
        oldest = ".".join(map(str, KNOWN[target][0].since))
        problem = f"release {version}, the oldest that is supported is {oldest}"
        raise UsageError(MODULES[target], problem, "on a Jetson Nano, install JetPack 4.6.1 or later")
    interface = fitting[-1].interface
    if interface is None:
        problem = f"release {version}, supported are 8.2 to 8.6, and 10.1 and later"
        raise UsageError(MODULES[target], problem, "install one of these")
    release = interface(module)
    newest = KNOWN[target][-1].since[0]
    if numbers[0] > newest:
        text = "{} is newer than the newest known here, {}: built with the interface of that one"
        release.notes.append(text.format(release.name, newest))
    return release


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps errors; what else TensorRT says is of no use to somebody who builds a finished model."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: List[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


def _with_helpers(layers: List[Any], prefixes: Tuple[str, ...]) -> List[Any]:
    """The layers whose names begin so, and those that the parser puts around them (broadcasts, constants), whose names
    do not tell where they belong: what they handed on in half precision would be lost for all that follows."""
    chosen = [layer for layer in layers if layer.name.startswith(prefixes)] if prefixes else []
    helpers = [layer for layer in layers if "/" not in layer.name]
    grown = bool(chosen)
    while grown:
        touched = {tensor for layer in chosen for tensor in _tensors(layer)}
        added = [layer for layer in helpers if layer not in chosen and touched & _tensors(layer)]
        chosen += added
        grown = bool(added)
    return chosen


def _tensors(layer: Any) -> set:
    inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
    outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
    return {tensor.name for tensor in inputs + outputs if tensor is not None}


def _capsule(address: int) -> Any:
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(address, None, None)


def _plain(shape: Any) -> Tuple[int, ...]:
    return tuple(shape[i] for i in range(len(shape)))
