"""The GPU's memory, streams and events, through PyCUDA or, where that is not installed, cuda-python.

The device's primary context is retained once and current only inside of `with`: in each thread that enters, and in no
other. A context left on the stack at exit, or missing in a second thread, is what PyCUDA users run into most.
"""

import contextlib
import ctypes
import importlib
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple, Union

import numpy as np

from tlee.errors import EngineError, UsageError

INSTALL = "pip install '.[jetson]' in tlee's folder (PyCUDA), or cuda-python"
NO_GPU = "look whether `nvidia-smi`, on a Jetson `tegrastats`, sees the GPU"


class Gpu(NamedTuple):
    """What CUDA reports about the device."""

    name: str
    capability: Tuple[int, int]  # compute capability, such as (5, 3)
    integrated: bool  # its memory is the CPU's, as on every Jetson
    free: int  # bytes of memory
    total: int


class Locked(NamedTuple):
    """Page-locked host memory, which the GPU copies from and to by itself."""

    array: np.ndarray  # of bytes
    pointer: int  # the address under which the GPU works on it directly, if it is mapped, else 0


class Cuda:
    """One device, and a `stream` that work is queued on unless another one is named. `open_cuda` finds the library.

    Examples:
        >>> with opened_cuda() as cuda:  # doctest: +SKIP
        ...     pointer = cuda.allocate(array.nbytes)
        ...     cuda.upload(pointer, array)
        ...     cuda.synchronize()
    """

    def __init__(self, driver: "Union[_PyCuda, _CudaPython]") -> None:
        self._driver = driver
        with self:
            self._stream = driver.new_stream()
            self.stream = driver.handle(self._stream)

    def __enter__(self) -> "Cuda":
        self._driver.push()
        return self

    def __exit__(self, *_: Any) -> None:
        self._driver.pop()

    def gpu(self) -> Gpu:
        return self._driver.gpu()

    def allocate(self, size: int) -> int:
        """The address of `size` bytes of device memory, freed by `release`."""
        with self._limited(size):
            return self._driver.allocate(max(size, 1))

    def lock(self, size: int, mapped: bool) -> Locked:
        """`size` bytes of page-locked memory, freed by `release`; no array of it may be used after that."""
        with self._limited(size):
            return self._driver.lock(max(size, 1), mapped)

    @contextlib.contextmanager
    def _limited(self, size: int) -> Iterator[None]:
        try:
            yield
        except self._driver.out_of_memory:
            remedy = "close other programs that use it, or add swap"
            raise EngineError("GPU", f"no {size:,} bytes of memory left", remedy) from None

    def upload(self, pointer: int, array: np.ndarray, stream: Any = None) -> None:
        """Queue a copy of a contiguous array, which must not change until it is done."""
        self._driver.upload(pointer, array, stream or self._stream)

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Queue a copy into a contiguous array; it is complete after `synchronize`."""
        self._driver.download(array, pointer, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy within device memory."""
        self._driver.copy(target, source, size, self._stream)

    def synchronize(self) -> None:
        """Wait for everything queued on the stream."""
        self._driver.synchronize(self._stream)

    def new_stream(self) -> Any:
        """Another stream, which runs concurrently with the first one."""
        return self._driver.new_stream()

    def new_event(self) -> Any:
        """An event that can be recorded again and again. One never recorded counts as past."""
        return self._driver.new_event()

    def record(self, event: Any, stream: Any = None) -> None:
        """Queue the event: it is past when everything queued before it is done."""
        self._driver.record(event, stream or self._stream)

    def follow(self, event: Any) -> None:
        """Let everything queued from now on wait for the event as it was last recorded."""
        self._driver.follow(self._stream, event)

    def wait(self, event: Any) -> None:
        """Let the host wait for it."""
        self._driver.wait(event)

    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two events that are past, by the GPU's clock."""
        return float(self._driver.milliseconds(start, end))

    def release(self) -> None:
        """Wait for all work, then free memory, streams, events and context: the last call, outside of `with`."""
        self._driver.push()
        try:
            self._driver.finish()
            while self._driver.owned:
                self._driver.owned.pop()()
            del self._stream  # while its context is current
        finally:
            self._driver.detach()


class _PyCuda:
    """PyCUDA, which JetPack 4 and 5 have to build from source, but which runs there. Its streams and events are freed
    with the last reference to them."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            driver.init()
            self._device = driver.Device(0)
            context = self._device.retain_primary_context()
        except driver.Error as error:
            raise UsageError("GPU", f"CUDA finds none ({error})", NO_GPU) from None
        self.owned: List[Callable[[], Any]] = []  # what frees memory
        self.out_of_memory = driver.MemoryError
        self.push, self.pop, self.finish = context.push, driver.Context.pop, driver.Context.synchronize
        self.detach = context.detach  # while current: in another thread than its first one, else it is not given up
        self.upload, self.download = driver.memcpy_htod_async, driver.memcpy_dtoh_async
        self.copy = driver.memcpy_dtod_async
        stream, event = driver.Stream, driver.Event
        self.new_stream, self.synchronize, self.follow = stream, stream.synchronize, stream.wait_for_event
        self.new_event, self.record, self.wait = event, event.record, event.synchronize
        self.milliseconds = event.time_till

    def handle(self, stream: Any) -> int:
        return int(stream.handle)

    def gpu(self) -> Gpu:
        device, integrated = self._device, self._driver.device_attribute.INTEGRATED
        capability, shared = tuple(device.compute_capability()), bool(device.get_attribute(integrated))
        return Gpu(device.name(), capability, shared, *self._driver.mem_get_info())

    def allocate(self, size: int) -> int:
        memory = self._driver.mem_alloc(size)
        self.owned.append(memory.free)
        return int(memory)

    def lock(self, size: int, mapped: bool) -> Locked:
        flags = self._driver.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self._driver.pagelocked_empty(size, np.uint8, mem_flags=flags)
        self.owned.append(array.base.free)
        return Locked(array, int(array.base.get_device_pointer()) if mapped else 0)


class _CudaPython:
    """cuda-python, whose `cuda.bindings` has wheels from Python 3.9 on: for JetPack 6 and desktops."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        call = self._call
        try:
            call("cuInit", 0)
            self._device = call("cuDeviceGet", 0)
            self.push = partial(call, "cuCtxPushCurrent", call("cuDevicePrimaryCtxRetain", self._device))
        except (EngineError, RuntimeError) as error:  # RuntimeError: there is no driver library
            raise UsageError("GPU", f"CUDA finds none ({error})", NO_GPU) from None
        self.owned: List[Callable[[], Any]] = []  # what frees memory, streams and events
        self.out_of_memory = EngineError
        self.pop, self.finish = partial(call, "cuCtxPopCurrent"), partial(call, "cuCtxSynchronize")
        self.copy, self.synchronize = partial(call, "cuMemcpyDtoDAsync"), partial(call, "cuStreamSynchronize")
        self.new_stream = partial(self._new, "cuStreamDestroy", "cuStreamCreate", 0)
        self.new_event = partial(self._new, "cuEventDestroy", "cuEventCreate", 0)
        self.record, self.wait = partial(call, "cuEventRecord"), partial(call, "cuEventSynchronize")
        self.milliseconds, self.handle = partial(call, "cuEventElapsedTime"), int

    def detach(self) -> None:
        self.pop()
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def gpu(self) -> Gpu:
        attributes = [
            getattr(self._driver.CUdevice_attribute, "CU_DEVICE_ATTRIBUTE_" + name)
            for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "INTEGRATED")
        ]
        major, minor, integrated = (self._call("cuDeviceGetAttribute", each, self._device) for each in attributes)
        name = self._call("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode()
        return Gpu(name, (major, minor), bool(integrated), *self._call("cuMemGetInfo"))

    def allocate(self, size: int) -> int:
        return int(self._new("cuMemFree", "cuMemAlloc", size))

    def lock(self, size: int, mapped: bool) -> Locked:
        flags = self._driver.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0
        address = int(self._new("cuMemFreeHost", "cuMemHostAlloc", size, flags))
        array = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
        return Locked(array, int(self._call("cuMemHostGetDevicePointer", address, 0)) if mapped else 0)

    def upload(self, pointer: int, array: np.ndarray, stream: Any) -> None:
        self._call("cuMemcpyHtoDAsync", pointer, array.ctypes.data, array.nbytes, stream)

    def download(self, array: np.ndarray, pointer: int, stream: Any) -> None:
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, pointer, array.nbytes, stream)

    def follow(self, stream: Any, event: Any) -> None:
        self._call("cuStreamWaitEvent", stream, event, 0)

    def _new(self, free: str, create: str, *arguments: Any) -> Any:
        made = self._call(create, *arguments)
        self.owned.append(partial(self._call, free, made))
        return made

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver: its result, or an EngineError instead of its status."""
        status, *results = getattr(self._driver, name)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineError("CUDA", f"{name} failed: {status.name}", NO_GPU)
        return results[0] if len(results) == 1 else results


DRIVERS: Dict[str, Callable[[Any], Any]] = {"pycuda.driver": _PyCuda, "cuda.bindings.driver": _CudaPython}


@contextlib.contextmanager
def opened_cuda() -> Iterator[Cuda]:
    """The first device, its context current, released at the end. Raises as `open_cuda`."""
    cuda = open_cuda()
    try:
        with cuda:
            yield cuda
    finally:
        cuda.release()


def open_cuda() -> Cuda:
    """The first device. Raises UsageError where neither library is installed, or CUDA finds no device."""
    for name, driver in DRIVERS.items():
        with contextlib.suppress(ImportError):  # raised also where it is installed without a driver
            return Cuda(driver(importlib.import_module(name)))
    raise UsageError("CUDA", "neither PyCUDA nor cuda-python is installed", INSTALL)
