"""A discrete GPU through NVML, on a double of nvidia-ml-py whose names are the real module's."""

import importlib
import inspect
import sys

import pytest
from doubles.environment import HERE
from doubles.nvml import pynvml as double

from tlee.errors import UsageError
from tlee.power import nvml as nvml_module
from tlee.power.nvml import REASONS, Nvml
from tlee.power.source import SourceEnded
from tlee.power.sources import open_source


@pytest.fixture
def gpu(monkeypatch):
    """Properties of the GPU, to be set."""
    monkeypatch.setitem(sys.modules, "pynvml", double)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    double.reset()
    yield double.GPU
    assert double.opened == 0  # every opening was closed


@pytest.fixture
def nvml(gpu):
    source = Nvml()
    yield source
    source.close()


@pytest.fixture
def real(monkeypatch):
    """The real module, which needs no driver as long as nothing is called."""
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    return importlib.import_module("pynvml")


def test_the_double_has_the_names_and_arguments_of_the_real_module(real):
    for name, function in inspect.getmembers(double, inspect.isfunction):
        if name.startswith("nvml"):
            mine, wanted = (list(inspect.signature(of).parameters) for of in (function, getattr(real, name)))
            assert mine == wanted[: len(mine)]
    for name in dir(double):
        if name.startswith("NVML_"):
            assert getattr(double, name) == getattr(real, name)
    assert issubclass(real.NVMLError_NotSupported, real.NVMLError)


def test_reasons_are_those_that_nvml_names(real):
    names = ["SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown"]
    assert [bit for bit, _ in REASONS] == [getattr(real, "nvmlClocksEventReason" + name) for name in names]
    assert [bit for bit, _ in REASONS] == [getattr(real, "nvmlClocksThrottleReason" + name) for name in names]


def test_without_a_driver_the_real_module_says_so(real):
    try:
        real.nvmlInit()
    except real.NVMLError:
        with pytest.raises(UsageError, match="nvml: no NVIDIA driver that can be asked"):
            open_source("nvml")
    else:
        real.nvmlShutdown()
        pytest.skip("there is a driver")


def test_a_reading_is_what_the_gpu_says(gpu, nvml):
    gpu.update(reasons=0x04 | 0x01 | 0x20)  # 0x01: idle
    reading = nvml.read()
    assert (reading.watts, reading.rails) == (50.0, {"GPU board": 50.0})
    assert (reading.loads, reading.clocks) == ({"GPU": 30.0, "EMC": 10.0}, {"GPU": 1500.0, "EMC": 5000.0})
    assert reading.temperatures == {"GPU": 55.0}
    assert reading.throttled == ["power cap", "thermal slowdown by software"]
    assert reading.state == {"gpu": "NVIDIA Double", "power_limit": "170 W"}
    assert nvml.total.startswith("GPU board alone")


def test_a_gpu_that_counts_its_energy_is_read_by_differences(gpu, monkeypatch):
    clock = iter([100.0, 100.5])
    monkeypatch.setattr(nvml_module.time, "perf_counter", lambda: next(clock))
    gpu.update(joules=1000.0, watts=None)
    source = Nvml()
    gpu.update(joules=1040.0)
    reading = source.read()
    assert (reading.watts, reading.time) == (80.0, 100.25)
    source.close()


def test_what_a_gpu_does_not_know_is_left_out(gpu):
    gpu.update(load=None, clock=None, memory_clock=None, heat=None, reasons=None, limit=None)
    source = Nvml()
    reading = source.read()
    assert (reading.loads, reading.clocks, reading.temperatures, reading.throttled) == ({}, {}, {}, [])
    assert reading.state == {"gpu": "NVIDIA Double"}
    source.close()


def test_reasons_under_their_name_before_driver_535(gpu, nvml, monkeypatch):
    monkeypatch.delattr(double, "nvmlDeviceGetCurrentClocksEventReasons")
    gpu.update(reasons=0x40)
    assert nvml.read().throttled == ["thermal slowdown by hardware"]


def test_a_gpu_without_power_is_no_source(gpu):
    gpu.update(watts=None)
    with pytest.raises(UsageError, match=r"nvml: the GPU reports no power \(Not Supported\)"):
        Nvml()


def test_no_driver_is_no_source(gpu):
    gpu.update(installed=False)
    with pytest.raises(UsageError, match=r"no NVIDIA driver that can be asked \(Driver Not Loaded\); look whether"):
        Nvml()


def test_a_gpu_that_falls_off_ends_the_source(gpu, nvml):
    gpu.update(watts=None)
    with pytest.raises(SourceEnded, match="reports no power any more"):
        nvml.read()
    nvml.close()
    nvml.close()
    with pytest.raises(SourceEnded):
        nvml.read()


@pytest.mark.parametrize(
    "visible, asked", [(None, 0), ("", 0), ("2,0", 2), ("GPU-1234,1", "GPU-1234"), ("MIG-1234", 0), ("-1", 0)]
)
def test_the_gpu_is_the_first_visible_one(gpu, monkeypatch, visible, asked):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    Nvml().close()
    assert gpu["asked"] == asked


def test_without_nvidia_ml_py_it_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.syspath_prepend(str(HERE / "hidden" / "nvml"))
    with pytest.raises(UsageError, match="nvml: nvidia-ml-py is not installed; pip install nvidia-ml-py"):
        Nvml()
