"""The interface of TensorRT 10, from which `tlee.engines.releases` derives those of the other releases.

Sources: NVIDIA's Python API reference of each release, and the notes on migrating from 8 to 10.
"""

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from tlee.calibration_cache import for_release
from tlee.errors import EngineError

FREE = -1  # a dimension that is not known before an engine runs
REPORT = "report it with the bundle's tlee-info and this line"


class Settings(NamedTuple):
    """How to build one engine."""

    workspace: int  # bytes of scratch memory that a layer may take; 0 while planning, when that is not known
    fp16: bool = False  # layers may compute in it; for releases that are not `typed`
    int8: bool = False  # the same
    fp32_layers: Sequence[str] = ()  # prefixes of the names of layers that compute in float32 nevertheless
    cache: Optional[bytes] = None  # of calibration, for implicit INT8; of any release, for those that `calibrate`
    timing: Optional[bytes] = None  # an earlier `Built.timing`, to be used again
    dla: Optional[int] = None  # core of the deep learning accelerator to build for; what it cannot do, the GPU does
    batch: int = 1  # the most videos that the engine computes at once; with one, all its shapes are fixed


class Built(NamedTuple):
    engine: Any  # serialised, in TensorRT's own memory
    timing: Optional[Any]  # the timing cache, if the release has one


class Binding(NamedTuple):
    """An input or output of an engine, always float32."""

    name: str
    shape: Tuple[int, ...]  # begins with -1 in engines for several videos, except for inputs that all videos share
    is_input: bool


class TensorRT:
    """Builds and runs engines."""

    product = "TensorRT"
    typed = False  # layers compute in the types that the ONNX says, and in no other
    calibrates = True  # takes calibration caches
    portable = False  # engines run on other GPUs, too

    if TYPE_CHECKING:  # so that mypy checks this class against the published stubs of TensorRT 10
        import tensorrt as trt

    def __init__(self, module: Any) -> None:
        self.trt = module
        self.version: str = module.__version__
        self.name = f"{self.product} {self.version}"
        self.notes: List[str] = []  # what the user should know about this release
        self._log = _log(module)
        self._runtime: Any = None

    def fast(self) -> Dict[str, bool]:
        """Whether the GPU computes faster in a precision than in float32."""
        builder = self.trt.Builder(self._log)
        return {"fp16": builder.platform_has_fast_fp16, "int8": builder.platform_has_fast_int8}

    def dla_cores(self) -> int:
        return self.trt.Builder(self._log).num_DLA_cores

    def build(self, onnx: bytes, settings: Settings) -> Built:
        """Parse and build. Raises EngineError, with TensorRT's own words, where it cannot."""
        builder = self.trt.Builder(self._log)
        network = self._network(builder, onnx)
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

    def _network(self, builder: "trt.Builder", onnx: bytes, flags: int = 0) -> "trt.INetworkDefinition":
        network = builder.create_network(flags)
        parser = self.trt.OnnxParser(network, self._log)
        if not parser.parse(onnx):
            errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
            raise EngineError(self.name, f"does not take the model: {errors}", REPORT)
        return network

    def _configure(self, config: "trt.IBuilderConfig", settings: Settings) -> None:
        self._set_workspace(config, settings.workspace)
        config.profiling_verbosity = self.trt.ProfilingVerbosity.DETAILED  # for the layer report; costs no speed
        config.clear_flag(self.trt.BuilderFlag.TF32)  # what is called float32 is float32
        flags = {"FP16": settings.fp16, "INT8": settings.int8, "GPU_FALLBACK": settings.dla is not None}
        for name, wanted in flags.items():
            if wanted:
                config.set_flag(getattr(self.trt.BuilderFlag, name))
        if settings.cache is not None:
            config.int8_calibrator = self._calibrator(settings.cache)
        if settings.dla is not None:
            config.default_device_type, config.DLA_core = self.trt.DeviceType.DLA, settings.dla

    def _set_workspace(self, config: "trt.IBuilderConfig", size: int) -> None:
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, size)

    def _set_sizes(
        self,
        builder: "trt.Builder",
        config: "trt.IBuilderConfig",
        network: "trt.INetworkDefinition",
        settings: Settings,
    ) -> None:
        """For how many videos: one, or up to a maximum, and then fastest for that."""
        inputs = [network.get_input(i) for i in range(network.num_inputs)]
        inputs = [tensor for tensor in inputs if tensor.shape[0] == FREE]
        if settings.batch == 1:
            for tensor in inputs:
                tensor.shape = self._shape(1, tensor)
            return
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            one, most = self._shape(1, tensor), self._shape(settings.batch, tensor)
            profile.set_shape(tensor.name, one, most, most)
        config.add_optimization_profile(profile)
        if settings.cache is not None:
            config.set_calibration_profile(profile)

    def _shape(self, videos: int, tensor: "trt.ITensor") -> "trt.Dims":
        return self.trt.Dims([videos] + list(_plain(tensor.shape)[1:]))

    def _constrain(
        self, config: "trt.IBuilderConfig", network: "trt.INetworkDefinition", prefixes: Sequence[str]
    ) -> None:
        chosen = _with_helpers([network.get_layer(i) for i in range(network.num_layers)], prefixes)
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

    def deserialize(self, content: bytes) -> Any:
        """An engine from its file's content, which must be our own: TensorRT runs the code in it. Raises EngineError
        where it was built by another release or for another device."""
        self._runtime = self._runtime or self.trt.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise EngineError(self.name, f"does not take the engine: {self._said()}", "build it again here")
        return engine

    def values(self, engine: "trt.ICudaEngine") -> List[Binding]:
        """Inputs and outputs in the engine's order."""
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [engine.get_tensor_mode(name) == self.trt.TensorIOMode.INPUT for name in names]
        return [Binding(n, _plain(engine.get_tensor_shape(n)), i) for n, i in zip(names, inputs)]

    def scratch(self, engine: "trt.ICudaEngine") -> int:
        """Bytes of device memory that a context of the engine needs while it runs, and that contexts may share."""
        return engine.device_memory_size_v2

    def context(self, engine: "trt.ICudaEngine", scratch: int, size: int) -> Any:
        """An execution context that uses `size` bytes of device memory at the address `scratch`."""
        context = engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(scratch, size)
        return context

    def set_batch(self, context: "trt.IExecutionContext", values: List[Binding], batch: int) -> None:
        """Say how many videos the next runs are for, in engines for several. Raises EngineError."""
        for i, value in enumerate(values):
            if value.is_input and value.shape[0] == FREE and not self._set_shape(context, i, value, batch):
                text = f"takes no {batch} videos at once: {self._said()}"
                raise EngineError(self.name, text, f"build with --batch {batch}")

    def _set_shape(self, context: "trt.IExecutionContext", number: int, value: Binding, batch: int) -> bool:
        return context.set_input_shape(value.name, (batch,) + value.shape[1:])

    def enqueue(
        self, context: "trt.IExecutionContext", values: List[Binding], addresses: Dict[str, int], stream: int
    ) -> None:
        """Queue one run on a CUDA stream, with each binding at its address in device memory. Raises EngineError."""
        for name, address in addresses.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(stream):
            raise EngineError(self.name, f"does not run: {self._said()}", REPORT)

    def layers(self, engine: "trt.ICudaEngine") -> str:
        """The engine inspector's description of the layers, JSON."""
        return engine.create_engine_inspector().get_engine_information(self.trt.LayerInformationFormat.JSON)

    def _said(self) -> str:
        """What TensorRT logged as errors, on one line, short enough to read."""
        return "; ".join(self._log.errors)[:400] or "it gave no reason"


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


def _with_helpers(layers: List[Any], prefixes: Sequence[str]) -> List[Any]:
    """The layers whose names have these prefixes, and those that the parser puts around them (broadcasts, constants),
    whose names do not tell where they belong: what these rounded to half precision would stay rounded."""
    chosen = added = [layer for layer in layers if layer.name.startswith(tuple(prefixes))]
    while added:
        touched = {tensor for layer in added for tensor in _tensors(layer)}
        helpers = [layer for layer in layers if "/" not in layer.name and layer not in chosen]
        added = [layer for layer in helpers if touched & _tensors(layer)]
        chosen = chosen + added
    return chosen


def _tensors(layer: Any) -> Set[str]:
    inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
    outputs = [layer.get_output(i) for i in range(layer.num_outputs)]
    return {tensor.name for tensor in inputs + outputs if tensor is not None}


def _plain(shape: Any) -> Tuple[int, ...]:
    return tuple(shape[i] for i in range(len(shape)))
