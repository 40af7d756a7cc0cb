"""From plan to engine. Sources: NVIDIA's Python API reference, Runtime and ICudaEngine (bindings until 8.6, tensors
from 8.5 on); the developer guide on which devices and releases a plan is for; error texts from public reports."""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

from contextlib import suppress

from cuda_double.device import DEVICE, PRIMARY, CudaError

from .builder import PLAN_MAGIC, host_memory, open_device
from .log import ILogger, error, misuse, warn
from .network import Dims
from .plan import BadPlan, pack, unpack
from .shapes import inferred
from .strict import RELEASE, NoConstructor, make, member


class Runtime:
    """Reads plans. Not constructed where there is no device."""

    __slots__ = ("_logger", "_core")

    def __init__(self, logger: ILogger) -> None:
        open_device(logger)
        self._logger, self._core = logger, 0 if DEVICE.properties["dla_cores"] else -1

    @property
    def logger(self) -> ILogger:
        return self._logger

    @property
    def num_DLA_cores(self) -> int:
        return DEVICE.properties["dla_cores"]

    @property
    def DLA_core(self) -> int:
        return self._core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:
        if not 0 <= core < DEVICE.properties["dla_cores"]:
            misuse(self._logger, f"setDLACore: there is no DLA core {core}")
            return
        self._core = int(core)

    def deserialize_cuda_engine(self, serialized_engine: Buffer) -> ICudaEngine | None:
        try:
            head, model = unpack(PLAN_MAGIC, bytes(serialized_engine))
            self._check(head)
            weights = DEVICE.allocate(max(len(model), 1), PRIMARY)
        except (BadPlan, CudaError) as problem:
            error(self._logger, f"1: Error Code 1: Serialization ({problem})")
            error(self._logger, "4: [runtime.cpp::deserializeCudaEngine] Engine deserialization failed.")
            return None
        parts = {"weights": weights, "session": None, "shapes": {}, "taken": False}
        return make("ICudaEngine", logger=self._logger, head=head, model=model, **parts)

    def _check(self, head: dict) -> None:
        if head["version"] != list(RELEASE.version):
            here, there = (".".join(map(str, version)) for version in (RELEASE.version, head["version"]))
            raise BadPlan(f"Version tag does not match. Current Version: {here}, Serialized Engine Version: {there}")
        here, there = (".".join(map(str, c)) for c in (DEVICE.properties["capability"], head["capability"]))
        if here != there:
            text = f"generated on an incompatible device, expecting compute {here} got compute {there}, please rebuild."
            raise BadPlan(f"The engine plan file is {text}")
        if head["device"] != DEVICE.properties["name"]:
            warn(self._logger, "Using an engine plan file across different models of devices is not recommended")


class ICudaEngine(NoConstructor):
    """An engine; its inputs come first."""

    __slots__ = ("_logger", "_head", "_model", "_weights", "_session", "_shapes", "_taken")

    @property
    def name(self) -> str:
        return self._head["name"]

    @property
    def num_layers(self) -> int:
        return len(self._head["layers"])

    @property
    def num_optimization_profiles(self) -> int:
        return 1

    @property
    def refittable(self) -> bool:
        return False

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return False

    @property
    def max_batch_size(self) -> int:
        return 1

    @property
    def profiling_verbosity(self):
        return member("ProfilingVerbosity", self._head["verbosity"])

    @property
    def device_memory_size(self) -> int:
        """Bytes that a context needs while it runs."""
        return self._head["memory"]

    @property
    def device_memory_size_v2(self) -> int:
        return self._head["memory"]

    def serialize(self) -> IHostMemory:
        return host_memory(pack(PLAN_MAGIC, self._head, self._model))

    def create_engine_inspector(self) -> EngineInspector:
        return make("EngineInspector", engine=self, context=None)

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy | None = None
    ) -> IExecutionContext | None:
        """8.x: takes no argument. None, with an error in the log, where memory is short."""
        if strategy is not None and "ExecutionContextAllocationStrategy" not in RELEASE.types:
            raise TypeError("create_execution_context(): incompatible function arguments")
        if strategy is not None and strategy.name == "USER_MANAGED":
            return self._context(0)
        try:
            return self._context(DEVICE.allocate(max(self._head["memory"], 1), PRIMARY))
        except CudaError as problem:
            error(self._logger, f"1: Error Code 1: Cuda Runtime ({problem})")
            return None

    def create_execution_context_without_device_memory(self) -> IExecutionContext:
        return self._context(0)

    def _context(self, owned: int) -> IExecutionContext:
        """Until 8.6, contexts do not share a profile: the first one has it, one that is made beside it has none
        (ICudaEngine::createExecutionContext; a preview feature of 8.6, the rule since 10, shares them)."""
        parts = {"addresses": dict.fromkeys((io["name"] for io in self._head["io"]), 0), "size": self._head["memory"]}
        parts.update(
            last=None, profile=0, given={io["name"]: io["shape"] for io in self._inputs() if -1 not in io["shape"]}
        )
        if RELEASE.version < (10,) and len(parts["given"]) < len(self._inputs()):
            parts["profile"] = -1 if self._taken else 0
            self._taken = True
        return make("IExecutionContext", engine=self, owned=owned, memory=owned, name="", **parts)

    def _inputs(self) -> list[dict]:
        return [io for io in self._head["io"] if io["mode"] == "INPUT"]

    def _shapes_of(self, inputs: dict[str, list[int]]) -> dict[str, tuple[int, ...]]:
        """The shapes of inputs and outputs for these of the inputs. Those of the plan where nothing is free."""
        key = tuple(tuple(inputs[io["name"]]) for io in self._inputs())
        if not any(-1 in io["shape"] for io in self._head["io"]):
            return {io["name"]: tuple(io["shape"]) for io in self._head["io"]}
        if key not in self._shapes:
            shapes = inferred(self._model, {io["onnx"]: inputs[io["name"]] for io in self._inputs()})[1]
            self._shapes[key] = {io["name"]: shapes[io["onnx"]] for io in self._head["io"]}
        return self._shapes[key]

    # -- profiles

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Least, best and largest; empty, with an error in the log, for what is no input."""
        return self._profile_shape(name, profile_index)

    def get_profile_shape(self, profile_index: int, binding: int | str) -> list[Dims]:
        return self._profile_shape(self._io(binding, "name"), profile_index)

    def _profile_shape(self, name: str | None, profile: int) -> list[Dims]:
        if name in self._head["profile"] and profile == 0:
            return [Dims(shape) for shape in self._head["profile"][name]]
        misuse(self._logger, f"getProfileShape: there is no input {name} or no profile {profile}")
        return []

    # -- tensors, by name

    @property
    def num_io_tensors(self) -> int:
        return len(self._head["io"])

    def get_tensor_name(self, index: int) -> str | None:
        return self._io(index, "name")

    def get_tensor_mode(self, name: str):
        found = [io["mode"] for io in self._head["io"] if io["name"] == name]
        return member("TensorIOMode", found[0] if found else "NONE")

    def get_tensor_shape(self, name: str) -> Dims:
        """No sizes for an unknown name."""
        return Dims(self._io(name, "shape") or ())

    def get_tensor_dtype(self, name: str):
        """FLOAT for an unknown name, as the reference says."""
        return member("DataType", self._io(name, "type") or "FLOAT")

    def get_tensor_location(self, name: str):
        return member("TensorLocation", "DEVICE")

    # -- bindings, by number or name

    @property
    def num_bindings(self) -> int:
        return len(self._head["io"])

    def __len__(self) -> int:
        return len(self._head["io"])

    def __getitem__(self, key: int | str) -> str | int:
        return self.get_binding_index(key) if isinstance(key, str) else self._head["io"][key]["name"]

    def get_binding_name(self, index: int) -> str | None:
        return self._io(index, "name")

    def get_binding_index(self, name: str) -> int:
        """-1 for an unknown name."""
        return next((i for i, io in enumerate(self._head["io"]) if io["name"] == name), -1)

    def get_binding_shape(self, index: int | str) -> Dims:
        return Dims(self._io(index, "shape") or ())

    def get_binding_dtype(self, index: int | str):
        return member("DataType", self._io(index, "type") or "FLOAT")

    def binding_is_input(self, index: int | str) -> bool:
        return self._io(index, "mode") == "INPUT"

    def _io(self, key: int | str, what: str):
        """None, and an error in the log, for what there is not."""
        for number, io in enumerate(self._head["io"]):
            if key in (number, io["name"]):
                return io[what]
        misuse(self._logger, f"the engine has no input or output {key!r}")
        return None

    def __del__(self) -> None:
        with suppress(AttributeError, CudaError):
            DEVICE.free(self._weights)
