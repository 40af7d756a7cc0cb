"""The GPU's memory, streams and events, through PyCUDA or, where that is not installed, cuda-python.

The device's primary context is retained once and current only inside of `with`: in each thread that enters, and in no
other. A context left on the stack at exit, or missing in a second thread, is what PyCUDA users run into most.
"""

import contextlib
import ctypes
from typing import Any, Iterator, List, NamedTuple, Tuple

import numpy as np

from tlee.errors import EngineError, UsageError

INSTALL = "pip install '.[jetson]' in tlee's folder (PyCUDA), or cuda-python"
NO_GPU = "look whether `nvidia-smi`, on a Jetson `tegrastats`, sees the GPU"


class Gpu(NamedTuple):
    """What CUDA says of the device."""

    name: str
    capability: Tuple[int, int]  # compute capability, such as (5, 3)
    integrated: bool  # its memory is the CPU's, as on every Jetson
    free: int  # bytes of memory
    total: int


class Locked(NamedTuple):
    """Page-locked memory of the host, which the GPU copies from and to by itself: an array of bytes, and where it is
    mapped, the address under which the GPU works on it directly; else 0."""

    array: np.ndarray
    pointer: int


class Cuda:
    """One device, and a stream that work is queued on unless another one is named. `open_cuda` finds the library.

    Example:
        with opened_cuda() as cuda:
            pointer = cuda.allocate(array.nbytes)
            cuda.upload(pointer, array)
            cuda.synchronize()
    """

    stream: int  # handle of the stream

    def __enter__(self) -> "Cuda":
        raise NotImplementedError  # abstract

    def __exit__(self, *_: Any) -> None:
        raise NotImplementedError  # abstract

    def gpu(self) -> Gpu:
        """What it is."""
        raise NotImplementedError  # abstract

    def allocate(self, size: int) -> int:
        """The address of so many bytes of device memory, freed by `release`."""
        raise NotImplementedError  # abstract

    def lock(self, size: int, mapped: bool) -> Locked:
        """So many bytes of page-locked memory, freed by `release`; no array of it may be used after that."""
        raise NotImplementedError  # abstract

    def upload(self, pointer: int, array: np.ndarray, stream: Any = None) -> None:
        """Queue a copy of a contiguous array, which must stay as it is until it is done."""
        raise NotImplementedError  # abstract

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Queue a copy into a contiguous array; it is there after `synchronize`."""
        raise NotImplementedError  # abstract

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy within device memory."""
        raise NotImplementedError  # abstract

    def synchronize(self) -> None:
        """Wait for all that is queued on the stream."""
        raise NotImplementedError  # abstract

    def new_stream(self) -> Any:
        """Another stream, whose work is done beside the first one's."""
        raise NotImplementedError  # abstract

    def new_event(self) -> Any:
        """A moment that can be recorded again and again. One never recorded counts as past."""
        raise NotImplementedError  # abstract

    def record(self, event: Any, stream: Any = None) -> None:
        """Queue the moment: when all that is queued before it is done."""
        raise NotImplementedError  # abstract

    def follow(self, event: Any) -> None:
        """Let all that is queued from now on wait for the event as it was last recorded."""
        raise NotImplementedError  # abstract

    def wait(self, event: Any) -> None:
        """Let the host wait for it."""
        raise NotImplementedError  # abstract

    def milliseconds(self, start: Any, end: Any) -> float:
        """Between two events that are past, by the GPU's clock."""
        raise NotImplementedError  # abstract

    def release(self) -> None:
        """Wait for all work, then free memory, streams, events and context, outside of `with`. Nothing can be done with
        this afterwards."""
        raise NotImplementedError  # abstract


class PyCuda(Cuda):
    """On PyCUDA, which JetPack 4 and 5 have to build from source, but which runs there."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            driver.init()
            self._device = driver.Device(0)
            self._context = self._device.retain_primary_context()
        except driver.Error as error:
            raise UsageError("GPU", f"CUDA finds none ({error})", NO_GPU) from None
        self._memory: List[Any] = []
        self._locked: List[Any] = []  # arrays
        with self:
            self._stream = driver.Stream()
            self.stream = self._stream.handle

    def __enter__(self) -> "PyCuda":
        self._context.push()
        return self

    def __exit__(self, *_: Any) -> None:
        self._driver.Context.pop()

    def gpu(self) -> Gpu:
        device, attributes = self._device, self._driver.device_attribute
        free, total = self._driver.mem_get_info()
        integrated = bool(device.get_attribute(attributes.INTEGRATED))
        return Gpu(device.name(), tuple(device.compute_capability()), integrated, free, total)

    def allocate(self, size: int) -> int:
        try:
            self._memory.append(self._driver.mem_alloc(max(size, 1)))
        except self._driver.MemoryError:
            raise _no_memory(size) from None
        return int(self._memory[-1])

    def lock(self, size: int, mapped: bool) -> Locked:
        flags = self._driver.host_alloc_flags.DEVICEMAP if mapped else 0
        try:
            array = self._driver.pagelocked_empty(max(size, 1), np.uint8, mem_flags=flags)
        except self._driver.MemoryError:
            raise _no_memory(size) from None
        self._locked.append(array)
        return Locked(array, int(self._locked[-1].base.get_device_pointer()) if mapped else 0)

    def upload(self, pointer: int, array: np.ndarray, stream: Any = None) -> None:
        self._driver.memcpy_htod_async(pointer, array, stream or self._stream)

    def download(self, array: np.ndarray, pointer: int) -> None:
        self._driver.memcpy_dtoh_async(array, pointer, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        self._driver.memcpy_dtod_async(target, source, size, self._stream)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def new_stream(self) -> Any:
        return self._driver.Stream()

    def new_event(self) -> Any:
        return self._driver.Event()

    def record(self, event: Any, stream: Any = None) -> None:
        event.record(stream or self._stream)

    def follow(self, event: Any) -> None:
        self._stream.wait_for_event(event)

    def wait(self, event: Any) -> None:
        event.synchronize()

    def milliseconds(self, start: Any, end: Any) -> float:
        return float(start.time_till(end))

    def release(self) -> None:
        self._context.push()
        try:
            self._driver.Context.synchronize()
            for allocation in self._memory:
                allocation.free()
            for array in self._locked:
                array.base.free()
            self._memory, self._locked = [], []
            del self._stream  # events and other streams go with whoever asked for them
        finally:
            self._context.detach()  # while current: in another thread than its first one, else it is not given up


class CudaPython(Cuda):
    """On cuda-python, whose `cuda.bindings` has wheels from Python 3.9 on: for JetPack 6 and desktops."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        try:
            self._call("cuInit", 0)
            self._device = self._call("cuDeviceGet", 0)
            self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        except (EngineError, RuntimeError) as error:  # RuntimeError: there is no driver library
            raise UsageError("GPU", f"CUDA finds none ({error})", NO_GPU) from None
        self._memory: List[Any] = []
        self._locked: List[int] = []
        self._streams: List[Any] = []
        self._events: List[Any] = []
        with self:
            self._stream = self.new_stream()
            self.stream = int(self._stream)

    def __enter__(self) -> "CudaPython":
        self._call("cuCtxPushCurrent", self._context)
        return self

    def __exit__(self, *_: Any) -> None:
        self._call("cuCtxPopCurrent")

    def gpu(self) -> Gpu:
        attribute = self._driver.CUdevice_attribute
        wanted = [
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            attribute.CU_DEVICE_ATTRIBUTE_INTEGRATED,
        ]
        major, minor, integrated = (self._call("cuDeviceGetAttribute", name, self._device) for name in wanted)
        name = self._call("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode()
        free, total = self._call("cuMemGetInfo")
        return Gpu(name, (major, minor), bool(integrated), free, total)

    def allocate(self, size: int) -> int:
        try:
            self._memory.append(self._call("cuMemAlloc", max(size, 1)))
        except EngineError:
            raise _no_memory(size) from None
        return int(self._memory[-1])

    def lock(self, size: int, mapped: bool) -> Locked:
        size = max(size, 1)
        try:
            address = int(self._call("cuMemHostAlloc", size, self._driver.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0))
        except EngineError:
            raise _no_memory(size) from None
        self._locked.append(address)
        array = np.ctypeslib.as_array((ctypes.c_ubyte * size).from_address(address))
        return Locked(array, int(self._call("cuMemHostGetDevicePointer", address, 0)) if mapped else 0)

    def upload(self, pointer: int, array: np.ndarray, stream: Any = None) -> None:
        self._call("cuMemcpyHtoDAsync", pointer, array.ctypes.data, array.nbytes, stream or self._stream)

    def download(self, array: np.ndarray, pointer: int) -> None:
        self._call("cuMemcpyDtoHAsync", array.ctypes.data, pointer, array.nbytes, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        self._call("cuMemcpyDtoDAsync", target, source, size, self._stream)

    def synchronize(self) -> None:
        self._call("cuStreamSynchronize", self._stream)

    def new_stream(self) -> Any:
        self._streams.append(self._call("cuStreamCreate", 0))
        return self._streams[-1]

    def new_event(self) -> Any:
        self._events.append(self._call("cuEventCreate", 0))
        return self._events[-1]

    def record(self, event: Any, stream: Any = None) -> None:
        self._call("cuEventRecord", event, stream or self._stream)

    def follow(self, event: Any) -> None:
        self._call("cuStreamWaitEvent", self._stream, event, 0)

    def wait(self, event: Any) -> None:
        self._call("cuEventSynchronize", event)

    def milliseconds(self, start: Any, end: Any) -> float:
        return float(self._call("cuEventElapsedTime", start, end))

    def release(self) -> None:
        with self:
            self._call("cuCtxSynchronize")
            for name, made in (
                ("cuMemFree", self._memory),
                ("cuMemFreeHost", self._locked),
                ("cuEventDestroy", self._events),
                ("cuStreamDestroy", self._streams),
            ):
                while made:
                    self._call(name, made.pop())
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def _call(self, name: str, *arguments: Any) -> Any:
        """A function of the driver: its result, or an EngineError instead of its status."""
        status, *results = getattr(self._driver, name)(*arguments)
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise EngineError("CUDA", f"{name} failed: {status.name}", NO_GPU)
        return results[0] if len(results) == 1 else results


@contextlib.contextmanager
def opened_cuda() -> Iterator[Cuda]:
    """The first device, its context current, released at the end.

    Raises:
        As `open_cuda`.
    """
    cuda = open_cuda()
    try:
        with cuda:
            yield cuda
    finally:
        cuda.release()


def open_cuda() -> Cuda:
    """The first device.

    Raises:
        UsageError: neither PyCUDA nor cuda-python is installed, or CUDA finds no device.
    """
    try:
        import pycuda.driver

        return PyCuda(pycuda.driver)
    except ImportError:  # also where it is installed without a driver
        pass
    try:
        from cuda.bindings import driver

        return CudaPython(driver)
    except ImportError:
        raise UsageError("CUDA", "neither PyCUDA nor cuda-python is installed", INSTALL) from None


def _no_memory(size: int) -> EngineError:
    problem = f"no {size:,} bytes of memory left"
    return EngineError("GPU", problem, "close other programs that use it, or add swap")
