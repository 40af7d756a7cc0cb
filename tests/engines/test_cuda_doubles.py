"""That the doubles of PyCUDA and cuda-python are as strict as these."""

from __future__ import annotations

import enum
import inspect
import signal

import numpy as np
import onnx
import pytest
from doubles.driving import (
    current,
    python,
    small_model,
)
from doubles.environment import environment


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
