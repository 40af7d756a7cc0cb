"""The one fake device of a process: properties, memory, contexts, streams, events.

Rules from NVIDIA's CUDA Driver API reference (chapters Initialization, Primary Context Management, Context Management,
Memory Management, Stream Management). Stricter than a real device in three points: addresses are never used twice, new
memory holds 0xFF (floats: NaN) instead of whatever was there, and no address can be read by the host without a copy.
"""

from __future__ import annotations

import bisect
import ctypes
import json
import os
import threading
import time

# Codes, names and descriptions as cuGetErrorName and cuGetErrorString give them.
ERRORS = {
    0: ("CUDA_SUCCESS", "no error"),
    1: ("CUDA_ERROR_INVALID_VALUE", "invalid argument"),
    2: ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    3: ("CUDA_ERROR_NOT_INITIALIZED", "initialization error"),
    100: ("CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"),
    101: ("CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"),
    201: ("CUDA_ERROR_INVALID_CONTEXT", "invalid device context"),
    400: ("CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"),
    600: ("CUDA_ERROR_NOT_READY", "device not ready"),
    700: ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
}
INVALID_VALUE, OUT_OF_MEMORY, NOT_INITIALIZED, NO_DEVICE, INVALID_DEVICE = 1, 2, 3, 100, 101
INVALID_CONTEXT, INVALID_HANDLE = 201, 400
PRIMARY = 0xC0FFEE00  # the handle of the device's primary context


class CudaError(Exception):
    """A status other than CUDA_SUCCESS."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code][1])
        self.code = code


class Device:
    """See the module. Memory may also be taken without a context, as TensorRT does, which uses the primary one."""

    def __init__(self, properties: dict) -> None:
        self.properties = properties
        self.initialized = False
        self.retained = 0  # of the primary context
        self._contexts: set[int] = set()  # made, not primary
        self._starts: list[int] = []
        self._memory: dict[int, tuple[memoryview, int]] = {}  # by address: content, context
        self._handles: dict[int, float | None] = {}  # streams: None; events: when recorded, or 0
        self._next = 0x7F00_0000_0000
        self._local = threading.local()

    # -- device and contexts

    def init(self) -> None:
        if not self.properties:
            raise CudaError(NO_DEVICE)
        self.initialized = True

    def check(self, ordinal: int = 0) -> None:
        if not self.initialized:
            raise CudaError(NOT_INITIALIZED)
        if ordinal != 0:
            raise CudaError(INVALID_DEVICE)

    @property
    def stack(self) -> list[int]:
        """This thread's contexts, the current one last."""
        return self._local.__dict__.setdefault("stack", [])

    def current(self) -> int:
        self.check()
        if not self.stack or not self._alive(self.stack[-1]):
            raise CudaError(INVALID_CONTEXT)
        return self.stack[-1]

    def retain(self, ordinal: int = 0) -> int:
        self.check(ordinal)
        self.retained += 1
        return PRIMARY

    def release(self, ordinal: int = 0) -> None:
        """The last release destroys the primary context with all that was allocated in it."""
        self.check(ordinal)
        if not self.retained:
            raise CudaError(INVALID_CONTEXT)
        self.retained -= 1
        if not self.retained:
            self._forget(PRIMARY)

    def make_context(self) -> int:
        self.check()
        handle = self._handle()
        self._contexts.add(handle)
        self.stack.append(handle)
        return handle

    def destroy_context(self, handle: int) -> None:
        self._contexts.remove(handle)
        self._forget(handle)

    def push(self, context: int) -> None:
        self.check()
        if not self._alive(context):
            raise CudaError(INVALID_CONTEXT)
        self.stack.append(context)

    def pop(self) -> int:
        self.check()
        if not self.stack:
            raise CudaError(INVALID_CONTEXT)
        return self.stack.pop()

    def _alive(self, context: int) -> bool:
        return bool(self.retained) if context == PRIMARY else context in self._contexts

    def _forget(self, context: int) -> None:
        for address in [a for a, (_, owner) in self._memory.items() if owner == context]:
            self._drop(address)

    # -- memory

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        used = sum(len(content) for content, _ in self._memory.values())
        return self.properties["free"] - used, self.properties["total"]

    def allocate(self, size: int, context: int) -> int:
        if size <= 0:
            raise CudaError(INVALID_VALUE)
        if size > self.memory_info()[0]:
            raise CudaError(OUT_OF_MEMORY)
        content = (ctypes.c_ubyte * size)()
        ctypes.memset(content, 0xFF, size)
        return self.map(memoryview(content).cast("B"), context)

    def map(self, content: memoryview, context: int) -> int:
        """An address for writable host memory, as of page-locked memory that is mapped."""
        address = self._next
        self._next += (len(content) // 512 + 2) * 512  # a gap: what runs over an end hits nothing
        bisect.insort(self._starts, address)
        self._memory[address] = content, context
        return address

    def free(self, address: int) -> None:
        if address not in self._memory:
            raise CudaError(INVALID_VALUE)
        self._drop(address)

    def view(self, address: int, size: int) -> memoryview:
        """So many bytes of live memory at an address; it may lie inside of an allocation.

        Raises:
            CudaError: there is less, or none.
        """
        at = bisect.bisect_right(self._starts, address) - 1
        if at < 0:
            raise CudaError(INVALID_VALUE)
        start = self._starts[at]
        content = self._memory[start][0]
        if address + size > start + len(content):
            raise CudaError(INVALID_VALUE)
        return content[address - start : address - start + size]

    def _drop(self, address: int) -> None:
        del self._memory[address]
        self._starts.remove(address)

    # -- streams and events: work is done when it is queued

    def new_stream(self) -> int:
        self.current()
        return self._new(None)

    def new_event(self) -> int:
        self.current()
        return self._new(0.0)

    def stream(self, handle: int) -> None:
        """Raises CudaError unless this is a stream; 0 is the default stream."""
        if handle != 0 and self._handles.get(handle, 0) is not None:
            raise CudaError(INVALID_HANDLE)

    def record(self, event: int) -> None:
        self.recorded(event)
        self._handles[event] = time.perf_counter()

    def recorded(self, event: int) -> float:
        moment = self._handles.get(event)
        if moment is None:
            raise CudaError(INVALID_HANDLE)
        return moment

    def elapsed(self, start: int, end: int) -> float:
        """Milliseconds between two recorded events."""
        first, last = self.recorded(start), self.recorded(end)
        if not first or not last:
            raise CudaError(INVALID_HANDLE)
        return (last - first) * 1000

    def destroy(self, handle: int) -> None:
        if handle not in self._handles:
            raise CudaError(INVALID_HANDLE)
        del self._handles[handle]

    def _new(self, value: float | None) -> int:
        handle = self._handle()
        self._handles[handle] = value
        return handle

    def _handle(self) -> int:
        self._next += 512
        return self._next - 512


DEVICE = Device(json.loads(os.environ.get("TLEE_DOUBLE_DEVICE", "{}")))
