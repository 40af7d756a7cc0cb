"""What a builder is told. Source: NVIDIA's Python API reference, IBuilderConfig, ITimingCache, IOptimizationProfile."""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import json

from cuda_double.device import DEVICE

from .log import error, misuse, warn
from .network import Dims
from .plan import BadPlan, pack, unpack
from .strict import RELEASE, NoConstructor, make, member

CACHE_MAGIC = b"DBLTIME\0"


class ITimingCache(NoConstructor):
    """Times that the builder took. Bound to the release, and to the device unless a mismatch is ignored."""

    __slots__ = ("_device", "_times")

    def serialize(self) -> IHostMemory:
        from .builder import host_memory

        head = {"version": list(RELEASE.version), "device": self._device, "times": self._times}
        return host_memory(pack(CACHE_MAGIC, head, b""))

    def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if input_cache._device != self._device and not ignore_mismatch:
            return False
        self._times = {**input_cache._times, **self._times}
        return True

    def reset(self) -> bool:
        self._times = {}
        return True


class IOptimizationProfile(NoConstructor):
    """Shapes of dynamic inputs. Most is only checked when the engine is built, as there."""

    __slots__ = ("_shapes",)

    def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
        if not len(min) == len(opt) == len(max):
            raise ValueError("Could not set the shapes: they differ in length")
        self._shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    def get_shape(self, input: str) -> list:
        """Least, best and largest; empty where none are set."""
        return [Dims(shape) for shape in self._shapes.get(input, [])]

    def __bool__(self) -> bool:
        """Whether the sizes are in order."""
        return all(0 <= a <= b <= c for shapes in self._shapes.values() for a, b, c in zip(*shapes))


class IBuilderConfig(NoConstructor):
    """Flags as the documentation's defaults have them: only TF32 is set."""

    __slots__ = ("_logger", "_flags", "_pools", "_calibrator", "_device", "_core", "_verbosity", "_cache", "_profiles")
    __slots__ += ("_level", "_average", "_calibration")

    @staticmethod
    def _default(logger) -> IBuilderConfig:
        return make(
            "IBuilderConfig",
            logger=logger,
            flags=1 << int(member("BuilderFlag", "TF32")),
            pools={},
            calibrator=None,
            device=member("DeviceType", "GPU"),
            core=0 if DEVICE.properties["dla_cores"] else -1,
            verbosity=member("ProfilingVerbosity", "LAYER_NAMES_ONLY"),
            cache=None,
            profiles=[],
            level=3,
            average=1,
            calibration=None,
        )

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, flags: Size) -> None:
        self._flags = int(flags)

    def set_flag(self, flag: BuilderFlag) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def _has(self, name: str) -> bool:
        """Whether a flag is set; not, where the release does not have it."""
        flags = RELEASE.types["BuilderFlag"].__members__
        return name in flags and self.get_flag(flags[name])

    @property
    def max_workspace_size(self) -> int:
        """0 unless set, with which many tactics are left out; from 8.4 on, another name for the pool."""
        return self._pools.get("WORKSPACE", 0 if RELEASE.version < (8, 4) else DEVICE.properties["total"])

    @max_workspace_size.setter
    def max_workspace_size(self, size: Size) -> None:
        self._pools["WORKSPACE"] = int(size)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: Size) -> None:
        self._pools[pool.name] = int(pool_size)

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        """The workspace's default is all of the device's memory."""
        return self._pools.get(pool.name, DEVICE.properties["total"] if pool.name == "WORKSPACE" else 0)

    @property
    def int8_calibrator(self) -> IInt8Calibrator | None:
        return self._calibrator

    @int8_calibrator.setter
    def int8_calibrator(self, calibrator: IInt8Calibrator | None) -> None:
        self._calibrator = calibrator

    @property
    def default_device_type(self):
        return self._device

    @default_device_type.setter
    def default_device_type(self, device_type: DeviceType) -> None:
        self._device = device_type

    @property
    def DLA_core(self) -> int:
        return self._core

    @DLA_core.setter
    def DLA_core(self, core: int) -> None:
        if not 0 <= core < DEVICE.properties["dla_cores"]:
            misuse(self._logger, f"setDLACore: {core} is none of {DEVICE.properties['dla_cores']} cores")
            return
        self._core = int(core)

    @property
    def profiling_verbosity(self):
        return self._verbosity

    @profiling_verbosity.setter
    def profiling_verbosity(self, verbosity: ProfilingVerbosity) -> None:
        self._verbosity = verbosity

    @property
    def builder_optimization_level(self) -> int:
        return self._level

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        self._level = int(level)

    @property
    def avg_timing_iterations(self) -> int:
        return self._average

    @avg_timing_iterations.setter
    def avg_timing_iterations(self, iterations: Size) -> None:
        self._average = int(iterations)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Its number; -1, with an error in the log, if its sizes are out of order."""
        if not profile:
            misuse(self._logger, f"addOptimizationProfile: least, best and largest out of order: {profile._shapes}")
            return -1
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile: IOptimizationProfile) -> bool:
        if not profile:
            misuse(self._logger, f"setCalibrationProfile: least, best and largest out of order: {profile._shapes}")
            return False
        self._calibration = profile
        return True

    def get_calibration_profile(self) -> IOptimizationProfile | None:
        return self._calibration

    def create_timing_cache(self, serialized_timing_cache: Buffer) -> ITimingCache:
        """Empty for an empty blob. For one that is damaged or of another release, empty too, with an error and a
        warning in the log: as TensorRT-RTX 1.7 does; public reports on 8.6 show the same messages, as errors."""
        content = bytes(serialized_timing_cache)
        empty = make("ITimingCache", device=device_key(), times={})
        if not content:
            return empty
        try:
            head, _ = unpack(CACHE_MAGIC, content)
        except BadPlan as problem:
            error(self._logger, f"1: Error Code 1: Serialization ({problem})")
        else:
            if head["version"] == list(RELEASE.version):
                return make("ITimingCache", device=head["device"], times=head["times"])
            error(self._logger, "1: Error Code 1: Serialization (Version tag does not match)")
        warn(self._logger, "The timing cache will not be used! Returning an empty timing cache.")
        return empty

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache._device != device_key() and not ignore_mismatch:
            error(self._logger, f"The timing cache is of {cache._device}, this device is {device_key()}")
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache

    def _time(self, layers: list[dict]) -> None:
        """The builder's work: a time for each layer that has none."""
        for layer in layers if self._cache is not None else []:
            key = json.dumps([layer["op"], layer["precision"], layer["shape"]])
            self._cache._times.setdefault(key, 0.1)


def device_key() -> str:
    return f"{DEVICE.properties['name']} {DEVICE.properties['capability']}"
