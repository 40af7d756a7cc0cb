"""That the doubles of PyCUDA and cuda-python are as strict as these."""

from __future__ import annotations

import contextlib
import ctypes
import enum
import importlib
import inspect
import signal
import threading
import time

import numpy as np
import onnx
import pytest
from conftest import Clock
from doubles.driving import (
    PICTURE,
    Builds,
    current,
    prepared,
    python,
    reference,
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
        gone = driver.pagelocked_zeros(4, np.float32)
        with pytest.raises(driver.LogicError, match="invalid argument"):
            gone.base.get_device_pointer()
        gone.base.free()
        with pytest.raises(driver.LogicError, match="invalid resource handle"):
            gone.base.free()
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


# -- work is done when something waits for it, and takes its time


@contextlib.contextmanager
def started(load, release: str = "8.6", **changes):
    """PyCUDA's double and an engine; a second stream, an event, page-locked memory for its input and its answer."""
    trt, driver = load(release, **changes)
    builds = Builds(trt)
    with current(driver):
        job = prepared(trt, driver, builds.engine(builds.plan(small_model())))
        job.second, job.event = driver.Stream(), driver.Event()
        job.picture, job.answer = (driver.pagelocked_empty(s, np.float32) for s in (PICTURE.shape, (1, 4)))
        job.picture[:] = PICTURE
        yield driver, job
        driver.Context.synchronize()


def test_streams_are_ordered_by_events_alone(load):
    with started(load) as (driver, job):
        for ordered in (False, True):
            driver.memcpy_htod_async(job.memory["x"], job.picture, job.second)
            if ordered:
                job.event.record(job.second)
                job.stream.wait_for_event(job.event)
            assert job.enqueue()
            driver.memcpy_dtoh_async(job.answer, job.memory["logits"], job.stream)
            assert not np.array_equal(job.answer, reference(small_model()))
            job.stream.synchronize()
            assert np.array_equal(job.answer, reference(small_model())) == ordered
            assert job.second.is_done() == ordered
            assert ordered or np.isnan(job.answer).all()
            driver.memset_d8(job.memory["x"], 0xFF, PICTURE.nbytes)


def test_page_locked_memory_is_read_and_written_late_other_memory_at_once(load):
    with started(load) as (driver, job):
        pageable, back = PICTURE.copy(), np.zeros_like(PICTURE)
        for source, expected in ((job.picture, 0), (pageable, PICTURE)):
            driver.memcpy_htod_async(job.memory["x"], source, job.stream)
            source[:] = 0
            driver.memcpy_dtoh_async(back, job.memory["x"], job.stream)
            assert np.array_equal(back, np.broadcast_to(expected, back.shape))
        copy = driver.mem_alloc(PICTURE.nbytes)
        driver.memcpy_dtod_async(copy, job.memory["x"], PICTURE.nbytes, job.stream)
        driver.memcpy_dtoh(back, copy)  # waits for all
        assert np.array_equal(back, PICTURE)
        driver.memcpy_htod_async(job.memory["x"], job.picture, job.stream)
        job.picture.base.free()
        with pytest.raises(RuntimeError, match="page-locked memory at .* was freed"):
            job.stream.synchronize()


def test_engines_read_and_write_mapped_memory(load):
    with started(load) as (driver, job):
        mapped = [driver.pagelocked_empty(s, np.float32, mem_flags=2) for s in (PICTURE.shape, (1, 4))]
        job.memory["x"], job.memory["logits"] = (array.base.get_device_pointer() for array in mapped)
        assert job.enqueue()
        mapped[0][:] = PICTURE
        assert np.isnan(mapped[1]).all()
        job.stream.synchronize()
        assert np.array_equal(mapped[1], reference(small_model()))


def test_a_context_and_its_memory_are_for_one_run_at_a_time(load):
    with started(load) as (driver, job):
        assert job.enqueue()
        addresses = [int(memory) for memory in job.memory.values()]
        with pytest.raises(RuntimeError, match="context is used by a run on another stream"):
            job.context.execute_async_v2(addresses, job.second.handle)
        other = job.context.engine.create_execution_context_without_device_memory()
        other.device_memory = int(job.scratch)
        with pytest.raises(RuntimeError, match="device memory at .* is used by a run on another stream"):
            other.execute_async_v2(addresses, job.second.handle)
        job.event.record(job.stream)
        job.second.wait_for_event(job.event)
        assert other.execute_async_v2(addresses, job.second.handle)


def test_events_tell_the_devices_time(load, monkeypatch):
    with started(load, milliseconds=4.0, milliseconds_per_row=1.0) as (driver, job):
        clock = Clock().drive(monkeypatch)
        start, end = driver.Event(), driver.Event()
        with pytest.raises(driver.LogicError, match="invalid resource handle"):
            start.time_till(end)
        before = clock.now()
        start.record(job.stream)
        assert job.enqueue() and job.enqueue()
        end.record(job.stream)
        assert not end.query() and not job.stream.is_done()
        with pytest.raises(driver.RuntimeError, match="not ready"):
            start.time_till(end)
        assert end.synchronize().query() and job.stream.is_done()
        assert start.time_till(end) == pytest.approx(10.0) and start.time_since(end) == -start.time_till(end)
        assert clock.now() - before == pytest.approx(0.01)


def test_the_device_works_beside_the_host(load, monkeypatch):
    with started(load, milliseconds=40.0) as (driver, job):
        clock = Clock().drive(monkeypatch)
        assert job.enqueue()
        clock.pause(0.03)  # what the host does meanwhile
        before = clock.now()
        job.stream.synchronize()
        assert clock.now() - before == pytest.approx(0.01)
        assert job.enqueue()
        before = clock.now()
        job.stream.synchronize()
        assert clock.now() - before == pytest.approx(0.04)


def test_waiting_for_the_device_takes_its_time(load):
    with started(load, milliseconds=10.0) as (driver, job):
        before = time.perf_counter()
        assert job.enqueue()
        job.stream.synchronize()
        assert time.perf_counter() - before >= 0.01


def test_threads_may_share_the_device(load):
    wrong = []
    with started(load, milliseconds=0.5) as (driver, job):
        trt, engine = importlib.import_module("tensorrt"), job.context.engine
        context = driver.Device(0).retain_primary_context()

        def work(factor: int) -> None:
            context.push()
            own = prepared(trt, driver, engine)
            for _ in range(20):
                own.picture[:] = factor * PICTURE
                if not np.allclose(own.run()["logits"], factor * reference(small_model()), rtol=1e-4):
                    wrong.append(factor)
            del own
            driver.Context.pop()

        threads = [threading.Thread(target=work, args=(factor,)) for factor in (1, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        context.detach()
    assert not wrong


def test_the_device_counts_what_it_was_asked(load):
    with started(load) as (driver, job):
        from cuda_double.device import DEVICE

        before = DEVICE.counts.copy()
        job.run()
        asked = {"htod": 1, "htod bytes": PICTURE.nbytes, "run": 1, "dtoh": 2, "dtoh bytes": 20, "synchronize": 1}
        assert DEVICE.counts - before == asked


@pytest.mark.parametrize("release", ["8.2", "10"])
def test_cuda_python_orders_streams_by_events(load, release):
    trt, cuda = load(release, cuda="cuda_python", milliseconds=1.0)
    builds = Builds(trt)
    engine = builds.engine(builds.plan(small_model()))

    def call(name: str, *arguments):
        status, *results = getattr(cuda, name)(*arguments)
        assert status == cuda.CUresult.CUDA_SUCCESS, (name, status)
        return results[0] if results else None

    call("cuCtxPushCurrent", call("cuDevicePrimaryCtxRetain", 0))
    flags = cuda.CU_MEMHOSTALLOC_PORTABLE | cuda.CU_MEMHOSTALLOC_DEVICEMAP
    hosts = [call("cuMemHostAlloc", size, flags) for size in (PICTURE.nbytes, 16)]
    mapped = call("cuMemHostGetDevicePointer", hosts[1], 0)
    picture, answer = (np.ctypeslib.as_array((ctypes.c_float * n).from_address(h)) for h, n in zip(hosts, (192, 4)))
    memory = [call("cuMemAlloc", size) for size in (PICTURE.nbytes, 4)]
    streams, events = [call("cuStreamCreate", 1) for _ in range(2)], [call("cuEventCreate", 0) for _ in range(2)]
    call("cuMemcpyHtoDAsync", memory[0], hosts[0], PICTURE.nbytes, streams[0])
    call("cuEventRecord", events[0], streams[0])
    call("cuStreamWaitEvent", streams[1], events[0], 0)
    context, addresses = engine.create_execution_context(), [int(a) for a in (memory[0], mapped, memory[1])]
    if release == "8.2":
        assert context.execute_async_v2(addresses, int(streams[1]))
    else:
        for name, address in zip(("x", "logits", "sure"), addresses):
            context.set_tensor_address(name, address)
        assert context.execute_async_v3(int(streams[1]))
    call("cuEventRecord", events[1], streams[1])
    picture[:] = PICTURE.ravel()
    not_ready = cuda.CUresult.CUDA_ERROR_NOT_READY
    assert cuda.cuEventElapsedTime(*events) == (not_ready, None)
    assert cuda.cuEventQuery(events[1]) == cuda.cuStreamQuery(streams[1]) == (not_ready,)
    call("cuEventSynchronize", events[1])
    call("cuEventQuery", events[1])
    assert np.array_equal(answer, reference(small_model())[0])
    assert call("cuEventElapsedTime", *events) >= 1
    call("cuMemcpyHtoDAsync", memory[0], hosts[0], PICTURE.nbytes, streams[0])
    call("cuMemFreeHost", hosts[0])
    assert cuda.cuMemFreeHost(hosts[0]) == (cuda.CUresult.CUDA_ERROR_INVALID_VALUE,)
    with pytest.raises(RuntimeError, match="was freed"):
        cuda.cuStreamSynchronize(streams[0])
    for name, handles in (("cuEventDestroy", events), ("cuStreamDestroy", streams), ("cuMemFree", memory)):
        for handle in handles:
            call(name, handle)
    call("cuCtxPopCurrent")


def test_changes_name_properties_of_devices():
    with pytest.raises(TypeError, match="cores"):
        environment("8.2", cores=2)
    with pytest.raises(ValueError, match="9.0"):
        environment("9.0")
    assert onnx.checker.check_model(onnx.load_from_string(small_model())) is None
