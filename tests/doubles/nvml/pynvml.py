"""A double of nvidia-ml-py's module, as far as it is used: one GPU, whose properties a test sets. Its names are
compared with those of the real module by a test. Units are NVML's: milliwatts, millijoules, MHz."""

from __future__ import annotations

from types import SimpleNamespace

NVML_CLOCK_SM = 1
NVML_CLOCK_MEM = 2
NVML_TEMPERATURE_GPU = 0

GPU: dict = {}
opened = 0


class NVMLError(Exception):
    pass


class NVMLError_NotSupported(NVMLError):
    pass


def reset(**changes: object) -> None:
    """A GPU that knows everything; a property that is None is not supported by it."""
    GPU.clear()
    GPU.update(name="NVIDIA Double", watts=50.0, joules=None, load=30, memory=10, clock=1500, heat=55, reasons=0)
    GPU.update(memory_clock=5000, limit=170.0, installed=True, asked=None)
    GPU.update(changes)


def known(name: str):
    if not opened:
        raise NVMLError("Uninitialized")
    if GPU[name] is None:
        raise NVMLError_NotSupported("Not Supported")
    return GPU[name]() if callable(GPU[name]) else GPU[name]


def nvmlInit() -> None:
    global opened
    if not GPU["installed"]:
        raise NVMLError("Driver Not Loaded")
    opened += 1


def nvmlShutdown() -> None:
    global opened
    opened -= 1


def nvmlDeviceGetHandleByIndex(index):
    GPU["asked"] = index
    return "handle"


def nvmlDeviceGetHandleByUUID(uuid):
    GPU["asked"] = uuid
    return "handle"


def nvmlDeviceGetName(handle):
    return known("name")


def nvmlDeviceGetPowerUsage(handle):
    return int(known("watts") * 1000)


def nvmlDeviceGetPowerManagementLimit(handle):
    return int(known("limit") * 1000)


def nvmlDeviceGetTotalEnergyConsumption(handle):
    return int(known("joules") * 1000)


def nvmlDeviceGetUtilizationRates(handle):
    return SimpleNamespace(gpu=known("load"), memory=known("memory"))


def nvmlDeviceGetClockInfo(handle, type):
    return known("clock" if type == NVML_CLOCK_SM else "memory_clock")


def nvmlDeviceGetTemperature(handle, sensor):
    return known("heat")


def nvmlDeviceGetCurrentClocksEventReasons(handle):
    return known("reasons")


def nvmlDeviceGetCurrentClocksThrottleReasons(handle):
    return known("reasons")
