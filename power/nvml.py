"""Power of a discrete NVIDIA GPU through NVML (package nvidia-ml-py). A Jetson's GPU reports none there."""

import os
import time
from typing import Any, Callable, Optional, Tuple

from tlee.errors import UsageError
from tlee.power.source import Sample, Source, SourceEnded

INSTALL = "pip install nvidia-ml-py"
DRIVER = "look whether `nvidia-smi` sees the GPU"

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h) by which a GPU is slower than it was set to be. Being idle or
# set to lower clocks is not throttling.
REASONS = (
    (0x04, "power cap"),
    (0x08, "hardware slowdown"),
    (0x20, "thermal slowdown by software"),
    (0x40, "thermal slowdown by hardware"),
    (0x80, "power brake"),
)


class Nvml(Source):
    """The first GPU, or the first one that CUDA_VISIBLE_DEVICES names by number or UUID. A number is NVML's, which is
    CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID.

    Where the GPU counts its energy (since Volta), a reading is the mean power since the one before and stands at the
    middle of that time. Otherwise it is what NVML calls its power usage: a mean over the last second on most GPUs since
    Ampere, so that blocks of few seconds borrow from what ran before.

    Raises:
        UsageError: nvidia-ml-py or the driver is not installed, or the GPU reports no power.
    """

    name = "nvml"
    total = "GPU board alone, without CPU and memory of the host"
    interval = 0.1

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError:
            raise UsageError("nvml", "nvidia-ml-py is not installed", INSTALL) from None
        self._nvml = pynvml
        self._closed = False
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise UsageError("nvml", f"no NVIDIA driver that can be asked ({error})", DRIVER) from None
        try:
            wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
            if wanted.startswith("GPU-"):
                self._device = pynvml.nvmlDeviceGetHandleByUUID(wanted)
            else:
                self._device = pynvml.nvmlDeviceGetHandleByIndex(int(wanted) if wanted.isdigit() else 0)
            self._last = self._energy()
            if self._last is None:
                pynvml.nvmlDeviceGetPowerUsage(self._device)
            limit = self._query("nvmlDeviceGetPowerManagementLimit")  # milliwatts
            name = self._query("nvmlDeviceGetName")
            self._state = {"gpu": name.decode() if isinstance(name, bytes) else str(name)}
            if limit:
                self._state["power_limit"] = f"{limit / 1e3:g} W"
        except BaseException as error:
            self.close()
            if isinstance(error, pynvml.NVMLError):
                raise UsageError("nvml", f"the GPU reports no power ({error})", DRIVER) from None
            raise

    def read(self) -> Sample:
        if self._closed:
            raise SourceEnded("nvml was closed")
        try:
            moment, watts = self._power()
        except self._nvml.NVMLError as error:
            raise SourceEnded(f"nvml: the GPU reports no power any more ({error})") from None
        load = self._query("nvmlDeviceGetUtilizationRates")
        kinds = {"GPU": self._nvml.NVML_CLOCK_SM, "EMC": self._nvml.NVML_CLOCK_MEM}
        clocks = {name: self._query("nvmlDeviceGetClockInfo", kind) for name, kind in kinds.items()}
        celsius = self._query("nvmlDeviceGetTemperature", self._nvml.NVML_TEMPERATURE_GPU)
        bits = self._query("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:  # its name before release 535 of the driver
            bits = self._query("nvmlDeviceGetCurrentClocksThrottleReasons") or 0
        loads = {} if load is None else {"GPU": float(load.gpu), "EMC": float(load.memory)}
        clocks = {name: float(clock) for name, clock in clocks.items() if clock is not None}
        temperatures = {} if celsius is None else {"GPU": float(celsius)}
        throttled = [reason for bit, reason in REASONS if bits & bit]
        return Sample(moment, watts, {"GPU board": watts}, loads, clocks, temperatures, throttled, self._state)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._nvml.nvmlShutdown()

    def _power(self) -> Tuple[float, float]:
        """Moment and watts."""
        before, self._last = self._last, self._energy() if self._last else None
        if before is None or self._last is None:
            return time.perf_counter(), self._nvml.nvmlDeviceGetPowerUsage(self._device) / 1e3
        seconds = self._last[0] - before[0]
        return before[0] + seconds / 2, (self._last[1] - before[1]) / 1e3 / seconds

    def _energy(self) -> Optional[Tuple[float, float]]:
        """Moment and millijoules since the driver was loaded; None where the GPU does not count."""
        millijoules = self._query("nvmlDeviceGetTotalEnergyConsumption")
        return None if millijoules is None else (time.perf_counter(), millijoules)

    def _query(self, function: str, *arguments: Any) -> Any:
        """Result of one of the library's functions for the GPU; None where library or GPU do not support it."""
        query: Callable[..., Any] = getattr(self._nvml, function, lambda *_: None)
        try:
            return query(self._device, *arguments)
        except self._nvml.NVMLError:
            return None
