"""Double of `pycuda.driver`. Sources: PyCUDA's documentation (device interface reference) and its src/cpp/cuda.hpp, for
the order in which contexts are pushed, popped and detached, the exceptions' classes and their texts."""

from __future__ import annotations

import atexit
import enum
import os
import sys
import threading
from contextlib import suppress

import numpy as np
from cuda_double.device import DEVICE, ERRORS, INVALID_CONTEXT, INVALID_HANDLE, INVALID_VALUE, PRIMARY, CudaError


class Error(Exception):
    """Base of what fails in CUDA."""


class MemoryError(Error):
    """CUDA_ERROR_OUT_OF_MEMORY."""


class LogicError(Error):
    """All that is no other of these classes."""


class LaunchError(Error):
    """A kernel's launch failed."""


class RuntimeError(Error):
    """CUDA_ERROR_NO_DEVICE, among others."""


class device_attribute(enum.IntEnum):
    """Some of CUdevice_attribute, with its numbers."""

    MAX_THREADS_PER_BLOCK = 1
    MULTIPROCESSOR_COUNT = 16
    INTEGRATED = 18
    CAN_MAP_HOST_MEMORY = 19
    COMPUTE_CAPABILITY_MAJOR = 75
    COMPUTE_CAPABILITY_MINOR = 76


class host_alloc_flags:
    """For `pagelocked_empty`."""

    PORTABLE = 1
    DEVICEMAP = 2
    WRITECOMBINED = 4


class ctx_flags:
    """For `make_context`."""

    SCHED_AUTO = 0
    SCHED_SPIN = 1
    SCHED_YIELD = 2
    SCHED_BLOCKING_SYNC = 4
    MAP_HOST = 8


class event_flags:
    """For `Event`."""

    DEFAULT = 0
    BLOCKING_SYNC = 1
    DISABLE_TIMING = 2


def _error(function: str, code: int, more: str = "") -> Error:
    kind = {2: MemoryError, 100: RuntimeError, 600: RuntimeError}.get(code, LogicError)
    return kind(f"{function} failed: {ERRORS[code][1]}" + (f" - {more}" if more else ""))


def _call(function: str, action, *arguments):
    try:
        return action(*arguments)
    except CudaError as error:
        raise _error(function, error.code) from None


def init(flags: int = 0) -> None:
    _call("cuInit", DEVICE.init)


class Device:
    """A device by its number."""

    __slots__ = ("_ordinal",)

    def __init__(self, ordinal: int) -> None:
        if not isinstance(ordinal, int):
            raise TypeError("a device is found by its number or its PCI bus id")
        _call("cuDeviceGet", DEVICE.check, ordinal)
        self._ordinal = ordinal

    @staticmethod
    def count() -> int:
        _call("cuDeviceGetCount", DEVICE.check)
        return 1

    def name(self) -> str:
        return DEVICE.properties["name"]

    def compute_capability(self) -> tuple[int, int]:
        major, minor = DEVICE.properties["capability"]
        return major, minor

    def total_memory(self) -> int:
        return DEVICE.properties["total"]

    def get_attribute(self, attr: device_attribute) -> int:
        if not isinstance(attr, device_attribute):
            raise TypeError("get_attribute takes a device_attribute")
        major, minor = self.compute_capability()
        values = {"COMPUTE_CAPABILITY_MAJOR": major, "COMPUTE_CAPABILITY_MINOR": minor, "CAN_MAP_HOST_MEMORY": 1}
        values.update(INTEGRATED=int(DEVICE.properties["integrated"]), MAX_THREADS_PER_BLOCK=1024)
        return values.get(attr.name, 1)

    def make_context(self, flags: int = ctx_flags.SCHED_AUTO) -> Context:
        """A new context, which is current afterwards."""
        _floating()
        handle = _call("cuCtxCreate", DEVICE.make_context)
        context = Context._of(handle)
        _stack().append(context)
        return context

    def retain_primary_context(self) -> Context:
        """The context that CUDA's runtime API uses too; not current afterwards."""
        return Context._of(_call("cuDevicePrimaryCtxRetain", DEVICE.retain))


class Context:
    """From `Device.make_context` or `retain_primary_context`. PyCUDA keeps a stack of these per thread, and only the
    top one of it on CUDA's own."""

    __slots__ = ("_handle", "_valid", "_thread")

    def __init__(self) -> None:
        raise LogicError("contexts come from a device")

    @classmethod
    def _of(cls, handle: int) -> Context:
        context = object.__new__(cls)
        context._handle, context._valid, context._thread = handle, True, threading.get_ident()
        return context

    def push(self) -> None:
        _floating()
        _call("cuCtxPushCurrent", DEVICE.push, self._handle)
        _stack().append(self)

    @staticmethod
    def pop() -> None:
        _floating()
        if not _stack():
            raise _error("context::pop", INVALID_CONTEXT, "cannot pop non-current context")
        _current()
        _stack().pop()
        below = _current()
        if below:
            _call("cuCtxPushCurrent", DEVICE.push, below._handle)

    def detach(self) -> None:
        """Gives the context up. One that is current is popped with it; in another thread than that which made it,
        nothing is given up."""
        if not self._valid:
            raise _error("context::detach", INVALID_CONTEXT, "cannot detach from invalid context")
        active = _current() is self
        if active:
            DEVICE.pop()
        if active or self._thread == threading.get_ident():
            if self._handle == PRIMARY:
                _call("cuDevicePrimaryCtxRelease", DEVICE.release)
            else:
                DEVICE.destroy_context(self._handle)
        self._valid = False
        below = _current() if active else None
        if below:
            _call("cuCtxPushCurrent", DEVICE.push, below._handle)

    @staticmethod
    def synchronize() -> None:
        _call("cuCtxSynchronize", DEVICE.synchronize)

    @staticmethod
    def get_device() -> Device:
        _call("cuCtxGetDevice", DEVICE.current)
        return Device(0)


class _Stack(list):
    """A thread's contexts. One left on it when the thread ends, or the process, ends the process, as cuda.hpp does."""

    def __del__(self) -> None:
        if self:
            sys.stdout.flush()
            print("PyCUDA ERROR: The context stack was not empty upon module cleanup.", file=sys.stderr, flush=True)
            os.abort()


_local = threading.local()


def _stack() -> _Stack:
    if not hasattr(_local, "stack"):
        _local.stack = _Stack()
    return _local.stack


def _current() -> Context | None:
    while _stack() and not _stack()[-1]._valid:
        _stack().pop()
    return _stack()[-1] if _stack() else None


def _floating() -> None:
    if _stack():
        _call("cuCtxPopCurrent", DEVICE.pop)


def _dependent() -> None:
    """What streams, events and memory do first."""
    if _current() is None:
        raise _error("explicit_context_dependent", INVALID_CONTEXT, "no currently active context?")


@atexit.register
def _cleanup() -> None:
    _stack().__del__()


def mem_get_info() -> tuple[int, int]:
    """Free and total bytes."""
    _call("cuMemGetInfo", DEVICE.current)
    return DEVICE.memory_info()


class DeviceAllocation:
    """From `mem_alloc`; freed when it is collected."""

    __slots__ = ("_address",)

    def __init__(self) -> None:
        raise TypeError("allocations come from mem_alloc")

    def __int__(self) -> int:
        return self._address

    __index__ = __int__

    def free(self) -> None:
        address, self._address = self._address, 0
        if not address:
            raise _error("device_allocation::free", INVALID_HANDLE)
        _call("cuMemFree", DEVICE.free, address)

    def __del__(self) -> None:
        with suppress(AttributeError, Error):  # never made; or its context went first
            if self._address:
                self.free()


def mem_alloc(bytes: int) -> DeviceAllocation:
    if not isinstance(bytes, int):
        raise TypeError("mem_alloc takes a number of bytes")
    context = _call("cuMemAlloc", DEVICE.current)
    allocation = object.__new__(DeviceAllocation)
    allocation._address = _call("cuMemAlloc", DEVICE.allocate, bytes, context)
    return allocation


def memcpy_htod(dest, src) -> None:
    _upload("cuMemcpyHtoD", dest, src, None)


def memcpy_dtoh(dest, src) -> None:
    _download("cuMemcpyDtoH", dest, src, None)


def memcpy_dtod(dest, src, size: int) -> None:
    _call("cuMemcpyDtoD", DEVICE.copy, _address(dest), _address(src), size)


def memcpy_htod_async(dest, src, stream=None) -> None:
    """Page-locked memory is read later, other memory at once."""
    _upload("cuMemcpyHtoDAsync", dest, src, _stream(stream))


def memcpy_dtoh_async(dest, src, stream=None) -> None:
    """Asynchronous only into page-locked memory."""
    _download("cuMemcpyDtoHAsync", dest, src, _stream(stream))


def memcpy_dtod_async(dest, src, size: int, stream=None) -> None:
    _call("cuMemcpyDtoDAsync", DEVICE.copy, _address(dest), _address(src), size, _stream(stream))


def memset_d8(dest, data: int, size: int) -> None:
    _call("cuMemsetD8", DEVICE.fill, _address(dest), data, size)


def _upload(function: str, dest, src, stream: int | None) -> None:
    _call(function, DEVICE.current)
    there = _bytes(src)
    if there.nbytes:
        _call(function, DEVICE.upload, _address(dest), there.ctypes.data, there.nbytes, stream)


def _download(function: str, dest, src, stream: int | None) -> None:
    _call(function, DEVICE.current)
    there = _bytes(dest)
    if not there.flags.writeable:
        raise TypeError("the destination is read-only")
    if there.nbytes:
        _call(function, DEVICE.download, there.ctypes.data, _address(src), there.nbytes, stream)


def _bytes(host) -> np.ndarray:
    view = memoryview(host)
    if not view.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    return np.frombuffer(host, np.uint8) if view.nbytes else np.empty(0, np.uint8)


def _address(place) -> int:
    if isinstance(place, bool) or not isinstance(place, (int, DeviceAllocation)):
        raise TypeError("an address is an int or a DeviceAllocation")
    return int(place)


def _stream(stream) -> int:
    if stream is not None and not isinstance(stream, Stream):
        raise TypeError("stream is a Stream or None")
    return stream.handle if stream is not None else 0


class Stream:
    """A queue of work. Destroyed when it is collected."""

    __slots__ = ("handle",)

    def __init__(self, flags: int = 0) -> None:
        _dependent()
        object.__setattr__(self, "handle", _call("cuStreamCreate", DEVICE.new_stream))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("can't set attribute")

    def synchronize(self) -> None:
        _call("cuStreamSynchronize", DEVICE.synchronize, self.handle)

    def is_done(self) -> bool:
        return _call("cuStreamQuery", DEVICE.query, self.handle)

    def wait_for_event(self, evt: Event) -> None:
        _call("cuStreamWaitEvent", DEVICE.wait_event, self.handle, evt._handle)

    def __del__(self) -> None:
        with suppress(AttributeError, CudaError):
            DEVICE.destroy_stream(self.handle)


class Event:
    """A moment in a stream. Destroyed when it is collected."""

    __slots__ = ("_handle",)

    def __init__(self, flags: int = event_flags.DEFAULT) -> None:
        _dependent()
        self._handle = _call("cuEventCreate", DEVICE.new_event, not flags & event_flags.DISABLE_TIMING)

    def record(self, stream: Stream | None = None) -> Event:
        _call("cuEventRecord", DEVICE.record, self._handle, _stream(stream))
        return self

    def synchronize(self) -> Event:
        _call("cuEventSynchronize", DEVICE.synchronize_event, self._handle)
        return self

    def query(self) -> bool:
        return _call("cuEventQuery", DEVICE.query_event, self._handle)

    def time_since(self, event: Event) -> float:
        """Milliseconds."""
        return _call("cuEventElapsedTime", DEVICE.elapsed, event._handle, self._handle)

    def time_till(self, event: Event) -> float:
        return _call("cuEventElapsedTime", DEVICE.elapsed, self._handle, event._handle)

    def __del__(self) -> None:
        with suppress(AttributeError, CudaError):
            DEVICE.destroy_event(self._handle)


class HostPointer:
    """Memory of the host that the device may know."""

    __slots__ = ("_address",)

    def get_device_pointer(self) -> int:
        """Only of memory with `host_alloc_flags.DEVICEMAP`."""
        here = _call("cuMemHostGetDevicePointer", DEVICE.pinned, self._address)[1]
        if not here:
            raise _error("cuMemHostGetDevicePointer", INVALID_VALUE)
        return here


class PagelockedHostAllocation(HostPointer):
    """The `base` of arrays that `pagelocked_empty` makes. Freed when it is collected."""

    __slots__ = ("_flags", "_content", "__array_interface__")

    def __init__(self, shape: tuple, dtype: np.dtype, order: str, flags: int) -> None:
        _dependent()
        layout = np.empty(shape, dtype, order)
        mapped = bool(flags & host_alloc_flags.DEVICEMAP)
        self._address = _call("cuMemHostAlloc", DEVICE.pin, max(layout.nbytes, 1), DEVICE.current(), mapped)
        self._content = DEVICE.pinned(self._address)[0]  # kept: reading what was freed shows 0xFF, and does not crash
        self._flags = flags
        form = {"shape": layout.shape, "typestr": layout.dtype.str, "strides": layout.strides, "version": 3}
        self.__array_interface__ = {**form, "data": (self._address, False)}

    def get_flags(self) -> int:
        return self._flags

    def free(self) -> None:
        """Now, instead of when this is collected. The array must not be used any more."""
        address, self._address = self._address, 0
        if not address:
            raise _error("pagelocked_host_allocation::free", INVALID_HANDLE)
        _call("cuMemFreeHost", DEVICE.unpin, address)

    def __del__(self) -> None:
        with suppress(AttributeError, Error):  # never made; or its context went first
            if self._address:
                self.free()


HostAllocation = PagelockedHostAllocation  # its older name


def pagelocked_empty(shape, dtype, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    return np.asarray(PagelockedHostAllocation(shape, dtype, order, mem_flags))


def pagelocked_empty_like(array: np.ndarray, mem_flags: int = 0) -> np.ndarray:
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return pagelocked_empty(array.shape, array.dtype, order, mem_flags)


def pagelocked_zeros(shape, dtype, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    array = pagelocked_empty(shape, dtype, order, mem_flags)
    array.fill(0)
    return array
