"""Double of `cuda.bindings.driver`. Sources: cuda-python's documentation (every function returns a tuple, the CUresult
first; handles may be given as ints) and NVIDIA's CUDA Driver API reference. Host memory is given by its address."""

from __future__ import annotations

import enum

from cuda_double.device import DEVICE, ERRORS, INVALID_VALUE, CudaError

CUresult = enum.IntEnum("CUresult", {name: code for code, (name, _) in ERRORS.items()})


CU_MEMHOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_DEVICEMAP, CU_MEMHOSTALLOC_WRITECOMBINED = 1, 2, 4
_freed: list = []  # page-locked memory: reading what was freed shows 0xFF, and does not crash


class CUdevice_attribute(enum.IntEnum):
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY = 19
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class CUevent_flags(enum.IntEnum):
    CU_EVENT_DEFAULT = 0
    CU_EVENT_BLOCKING_SYNC = 1
    CU_EVENT_DISABLE_TIMING = 2


class CUstream_flags(enum.IntEnum):
    CU_STREAM_DEFAULT = 0
    CU_STREAM_NON_BLOCKING = 1


class _Handle:
    __slots__ = ("_value",)

    def __init__(self, value: int = 0) -> None:
        self._value = _int(value)

    def __int__(self) -> int:
        return self._value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._value}>"


class CUdevice(_Handle):
    __slots__ = ()


class CUcontext(_Handle):
    __slots__ = ()


class CUstream(_Handle):
    __slots__ = ()


class CUevent(_Handle):
    __slots__ = ()


class CUdeviceptr(_Handle):
    __slots__ = ()


def _int(value) -> int:
    if not isinstance(value, (int, _Handle)):
        raise TypeError("an integer is required")
    return int(value)


def _size(value) -> int:
    if _int(value) < 0:
        raise OverflowError("can't convert negative value to size_t")
    return int(value)


def _tuple(outputs: int, action, *arguments) -> tuple:
    """The status, and as many outputs, None where it failed."""
    try:
        result = action(*arguments)
    except CudaError as error:
        return (CUresult(error.code),) + (None,) * outputs
    return (CUresult.CUDA_SUCCESS,) + (() if not outputs else result if outputs > 1 else (result,))


def cuGetErrorString(error):
    return CUresult.CUDA_SUCCESS, ERRORS[CUresult(error)][1].encode()


def cuGetErrorName(error):
    return CUresult.CUDA_SUCCESS, ERRORS[CUresult(error)][0].encode()


def cuInit(Flags):
    _int(Flags)
    return _tuple(0, DEVICE.init)


def cuDriverGetVersion():
    return CUresult.CUDA_SUCCESS, 12060


def cuDeviceGetCount():
    return _tuple(1, lambda: DEVICE.check() or 1)


def cuDeviceGet(ordinal):
    return _tuple(1, lambda: DEVICE.check(_int(ordinal)) or CUdevice(ordinal))


def cuDeviceGetName(length, dev):
    """Of the given length: what is behind the name is zero."""
    name = DEVICE.properties.get("name", "").encode()[: _size(length) - 1].ljust(length, b"\0")
    return _tuple(1, lambda: DEVICE.check(_int(dev)) or name)


def cuDeviceTotalMem(dev):
    return _tuple(1, lambda: DEVICE.check(_int(dev)) or DEVICE.properties["total"])


def cuDeviceGetAttribute(attrib, dev):
    if not isinstance(attrib, CUdevice_attribute):
        raise TypeError("Argument 'attrib' is not instance of type (expected CUdevice_attribute)")

    def value() -> int:
        DEVICE.check(_int(dev))
        major, minor = DEVICE.properties["capability"]
        return {18: int(DEVICE.properties["integrated"]), 19: 1, 75: major, 76: minor}.get(int(attrib), 1)

    return _tuple(1, value)


def cuDevicePrimaryCtxRetain(dev):
    return _tuple(1, lambda: CUcontext(DEVICE.retain(_int(dev))))


def cuDevicePrimaryCtxRelease(dev):
    return _tuple(0, DEVICE.release, _int(dev))


def cuCtxPushCurrent(ctx):
    return _tuple(0, DEVICE.push, _int(ctx))


def cuCtxPopCurrent():
    return _tuple(1, lambda: CUcontext(DEVICE.pop()))


def cuCtxGetCurrent():
    """A context of zero where there is none."""
    return _tuple(1, lambda: DEVICE.check() or CUcontext(DEVICE.stack[-1] if DEVICE.stack else 0))


def cuCtxSynchronize():
    return _tuple(0, DEVICE.synchronize)


def cuMemGetInfo():
    return _tuple(2, lambda: DEVICE.current() and DEVICE.memory_info())


def cuMemAlloc(bytesize):
    size = _size(bytesize)
    return _tuple(1, lambda: CUdeviceptr(DEVICE.allocate(size, DEVICE.current())))


def cuMemFree(dptr):
    return _tuple(0, lambda: DEVICE.current() and DEVICE.free(_int(dptr)))


def cuMemcpyHtoD(dstDevice, srcHost, ByteCount):
    return _tuple(0, DEVICE.upload, _int(dstDevice), _int(srcHost), _size(ByteCount))


def cuMemcpyDtoH(dstHost, srcDevice, ByteCount):
    return _tuple(0, DEVICE.download, _int(dstHost), _int(srcDevice), _size(ByteCount))


def cuMemcpyDtoD(dstDevice, srcDevice, ByteCount):
    return _tuple(0, DEVICE.copy, _int(dstDevice), _int(srcDevice), _size(ByteCount))


def cuMemcpyHtoDAsync(dstDevice, srcHost, ByteCount, hStream):
    """Page-locked memory is read later, other memory at once. Taken are addresses, neither `bytes` nor arrays."""
    return _tuple(0, DEVICE.upload, _int(dstDevice), _int(srcHost), _size(ByteCount), _int(hStream))


def cuMemcpyDtoHAsync(dstHost, srcDevice, ByteCount, hStream):
    """Asynchronous only into page-locked memory."""
    return _tuple(0, DEVICE.download, _int(dstHost), _int(srcDevice), _size(ByteCount), _int(hStream))


def cuMemcpyDtoDAsync(dstDevice, srcDevice, ByteCount, hStream):
    return _tuple(0, DEVICE.copy, _int(dstDevice), _int(srcDevice), _size(ByteCount), _int(hStream))


def cuMemsetD8(dstDevice, uc, N):
    return _tuple(0, DEVICE.fill, _int(dstDevice), _int(uc), _size(N))


def cuMemHostAlloc(bytesize, Flags):
    """Its address."""
    size, mapped = _size(bytesize), bool(_int(Flags) & CU_MEMHOSTALLOC_DEVICEMAP)
    return _tuple(1, lambda: DEVICE.pin(size, DEVICE.current(), mapped))


def cuMemHostGetDevicePointer(p, Flags):
    """Only of memory with `CU_MEMHOSTALLOC_DEVICEMAP`."""

    def pointer() -> CUdeviceptr:
        DEVICE.current()
        here = DEVICE.pinned(_int(p))[1]
        if not here or _int(Flags):
            raise CudaError(INVALID_VALUE)
        return CUdeviceptr(here)

    return _tuple(1, pointer)


def cuMemFreeHost(p):
    return _tuple(0, lambda: DEVICE.current() and _freed.append(DEVICE.unpin(_int(p))))


def cuStreamCreate(Flags):
    _int(Flags)
    return _tuple(1, lambda: CUstream(DEVICE.new_stream()))


def cuStreamSynchronize(hStream):
    return _tuple(0, DEVICE.synchronize, _int(hStream))


def cuStreamQuery(hStream):
    return _ready(DEVICE.query, _int(hStream))


def cuStreamWaitEvent(hStream, hEvent, Flags):
    _int(Flags)
    return _tuple(0, DEVICE.wait_event, _int(hStream), _int(hEvent))


def cuStreamDestroy(hStream):
    return _tuple(0, DEVICE.destroy_stream, _int(hStream))


def cuEventCreate(Flags):
    timed = not _int(Flags) & CUevent_flags.CU_EVENT_DISABLE_TIMING
    return _tuple(1, lambda: CUevent(DEVICE.new_event(timed)))


def cuEventRecord(hEvent, hStream):
    return _tuple(0, DEVICE.record, _int(hEvent), _int(hStream))


def cuEventSynchronize(hEvent):
    return _tuple(0, DEVICE.synchronize_event, _int(hEvent))


def cuEventQuery(hEvent):
    return _ready(DEVICE.query_event, _int(hEvent))


def cuEventElapsedTime(hStart, hEnd):
    return _tuple(1, DEVICE.elapsed, _int(hStart), _int(hEnd))


def cuEventDestroy(hEvent):
    return _tuple(0, DEVICE.destroy_event, _int(hEvent))


def _ready(query, handle: int) -> tuple:
    status, ready = _tuple(1, query, handle)
    return (status if status or ready else CUresult.CUDA_ERROR_NOT_READY,)
