"""The one fake device of a process: properties, memory, contexts, streams, events.

Rules from NVIDIA's CUDA Driver API reference (chapters Initialization, Primary Context Management, Context Management,
Memory Management, Stream Management, Event Management, API synchronization behavior). Stricter than a real device:

- addresses are never used twice, and no address can be read by the host without a copy;
- new memory holds 0xFF (floats: NaN) instead of whatever was there;
- work is done as late as it may be: when something waits for it, in the thread that waits. Whoever forgets to order two
  streams, or the host and the device, therefore reads what was there before. The default stream is one like all
  others: it does not order them.

Time is that of a device which works beside the host: work has a time at which it is due, and who waits for it sleeps
until then. `counts` says what was asked of the device. `now` and `pause` can be replaced by a clock that stands still
until somebody waits.
"""

from __future__ import annotations

import bisect
import ctypes
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

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
INVALID_CONTEXT, INVALID_HANDLE, NOT_READY = 201, 400, 600
PRIMARY = 0xC0FFEE00  # the handle of the device's primary context
now, pause = time.perf_counter, time.sleep  # seconds


class CudaError(Exception):
    """A status other than CUDA_SUCCESS."""

    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code][1])
        self.code = code


@dataclass(eq=False)
class Work:
    """One thing in a stream's queue.

    Attributes:
        due: when the device has done it, in seconds of `now`; known as soon as it is queued.
        number: higher than those of all work that was queued before.
        after: work of another stream that has to be done before.
    """

    stream: Stream
    action: Callable[[], None] | None
    due: float
    number: int
    after: Work | None = None
    done: bool = False

    @property
    def over(self) -> bool:
        return self.done and now() >= self.due


@dataclass(eq=False)
class Stream:
    queue: deque[Work] = field(default_factory=deque)
    last: Work | None = None


@dataclass(eq=False)
class Event:
    timed: bool
    record: Work | None = None  # the last one


class Device:
    """See the module. Memory may also be taken without a context, as TensorRT does, which uses the primary one."""

    def __init__(self, properties: dict) -> None:
        self.properties = properties
        self.initialized = False
        self.retained = 0  # of the primary context
        self._contexts: set[int] = set()  # made, not primary
        self._starts: list[int] = []
        self._memory: dict[int, tuple[memoryview, int]] = {}  # by address: content, context
        self._pinned: dict[int, tuple[ctypes.Array, int, int]] = {}  # by host address: content, context, address here
        self._streams: dict[int, Stream] = {0: Stream()}
        self._ending: list[Stream] = []  # destroyed with work in them
        self._events: dict[int, Event] = {}
        self._free_at = 0.0  # when the engine that was queued last is through
        self._number = 0
        self.scratch: dict[int, Work] = {}  # by address: the last run that uses it
        self._working = False
        self._next = 0x7F00_0000_0000
        self._local = threading.local()
        self._lock = threading.RLock()  # of memory, queues and counts, and held while work is done
        self.counts: Counter[str] = Counter()

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
        try:
            self._complete_all()
        finally:
            with self._lock:
                for address in [a for a, (_, owner, _) in self._pinned.items() if owner == context]:
                    self.unpin(address)
                for address in [a for a, (_, owner) in self._memory.items() if owner == context]:
                    self._drop(address)

    # -- memory

    def memory_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        with self._lock:
            used = sum(len(content) for content, _ in self._memory.values())
        return self.properties["free"] - used, self.properties["total"]

    def allocate(self, size: int, context: int) -> int:
        if size <= 0:
            raise CudaError(INVALID_VALUE)
        if size > self.memory_info()[0]:
            raise CudaError(OUT_OF_MEMORY)
        return self._map(memoryview(_fresh(size)).cast("B"), context)

    def _map(self, content: memoryview, context: int) -> int:
        with self._lock:
            address = self._next
            self._next += (len(content) // 512 + 2) * 512  # a gap: what runs over an end hits nothing
            bisect.insort(self._starts, address)
            self._memory[address] = content, context
        return address

    def free(self, address: int) -> None:
        """Waits for all work, as cuMemFree does."""
        if address not in self._memory:
            raise CudaError(INVALID_VALUE)
        try:
            self._complete_all()
        finally:
            self._drop(address)

    def view(self, address: int, size: int) -> memoryview:
        """So many bytes of live memory at an address; it may lie inside of an allocation.

        Raises:
            CudaError: there is less, or none.
        """
        with self._lock:
            at = bisect.bisect_right(self._starts, address) - 1
            if at < 0:
                raise CudaError(INVALID_VALUE)
            start = self._starts[at]
            content = self._memory[start][0]
        if address + size > start + len(content):
            raise CudaError(INVALID_VALUE)
        return content[address - start : address - start + size]

    def _drop(self, address: int) -> None:
        with self._lock:
            del self._memory[address]
            self._starts.remove(address)

    # -- page-locked memory of the host, by its address there

    def pin(self, size: int, context: int, mapped: bool) -> int:
        if size <= 0:
            raise CudaError(INVALID_VALUE)
        content = _fresh(size)
        here = self._map(memoryview(content).cast("B"), context) if mapped else 0
        with self._lock:
            self._pinned[ctypes.addressof(content)] = content, context, here
        return ctypes.addressof(content)

    def pinned(self, address: int) -> tuple[ctypes.Array, int]:
        """The content, and the address on the device, 0 for none."""
        if address not in self._pinned:
            raise CudaError(INVALID_VALUE)
        content, _, here = self._pinned[address]
        return content, here

    def unpin(self, address: int) -> ctypes.Array:
        """What was the content, now 0xFF. Waits for nothing: work that still needs it fails."""
        with self._lock:
            content, here = self.pinned(address)
            del self._pinned[address]
            if here:
                self._drop(here)
        ctypes.memset(content, 0xFF, len(content))
        return content

    def _is_pinned(self, address: int, size: int) -> bool:
        with self._lock:
            return any(a <= address and address + size <= a + len(held[0]) for a, held in self._pinned.items())

    # -- copies: queued on a stream, or without one made at once, after all work

    def upload(self, to: int, host: int, size: int, stream: int | None = None) -> None:
        """Page-locked memory is read when the copy is made, other memory at once."""
        self._check_copy(stream, (to, size))
        self._count("htod", size)
        if stream is not None and self._is_pinned(host, size):
            self.queue(stream, lambda: self._write(to, self._host(host, size, "an upload"), "an upload"))
            return
        content = bytes(_at(host, size))
        if stream is None:
            self._complete_all()
            self._write(to, content, "an upload")
        else:
            self.queue(stream, lambda: self._write(to, content, "an upload"))

    def download(self, host: int, source: int, size: int, stream: int | None = None) -> None:
        """Into memory that is not page-locked it is not over before the copy is made."""
        self._check_copy(stream, (source, size))
        self._count("dtoh", size)
        locked = stream is not None and self._is_pinned(host, size)

        def copy() -> None:
            there = self._host(host, size, "a download") if locked else _at(host, size)
            there[:] = self.live(source, size, "a download")

        if stream is None:
            self._complete_all()
            copy()
            return
        work = self.queue(stream, copy)
        if not locked:
            self._wait([work])

    def copy(self, to: int, source: int, size: int, stream: int | None = None) -> None:
        """From device to device."""
        self._check_copy(stream, (to, size), (source, size))
        self._count("dtod", size)

        def copy() -> None:
            self._write(to, bytes(self.live(source, size, "a copy")), "a copy")

        if stream is None:
            self._complete_all()
            copy()
        else:
            self.queue(stream, copy)

    def fill(self, to: int, byte: int, size: int) -> None:
        """At once, after all work."""
        self._check_copy(None, (to, size))
        self._complete_all()
        self.view(to, size)[:] = bytes([byte]) * size

    def live(self, address: int, size: int, what: str) -> memoryview:
        """As `view`, for work that is done: memory that is gone is the program's mistake.

        Raises:
            RuntimeError: CUDA's behaviour would be undefined.
        """
        try:
            return self.view(address, size)
        except CudaError:
            raise RuntimeError(f"{what}: at {address:#x} are no {size} bytes of live device memory") from None

    def _check_copy(self, stream: int | None, *places: tuple[int, int]) -> None:
        self.current()
        self.stream(stream or 0)
        for place in places:
            self.view(*place)

    def _write(self, to: int, content: bytes | memoryview, what: str) -> None:
        self.live(to, len(content), what)[:] = content

    def _host(self, address: int, size: int, what: str) -> memoryview:
        if not self._is_pinned(address, size):
            raise RuntimeError(f"{what}: the page-locked memory at {address:#x} was freed before the copy was made")
        return _at(address, size)

    # -- streams and events

    def new_stream(self) -> int:
        self.current()
        handle = self._handle()
        self._streams[handle] = Stream()
        return handle

    def new_event(self, timed: bool = True) -> int:
        self.current()
        handle = self._handle()
        self._events[handle] = Event(timed)
        return handle

    def stream(self, handle: int) -> Stream:
        """0 is the default stream."""
        if handle not in self._streams:
            raise CudaError(INVALID_HANDLE)
        return self._streams[handle]

    def event(self, handle: int) -> Event:
        if handle not in self._events:
            raise CudaError(INVALID_HANDLE)
        return self._events[handle]

    def queue(
        self, stream: int, action: Callable[[], None] | None, after: Work | None = None, seconds: float | None = None
    ) -> Work:
        """Queue work, which takes no time.

        Args:
            seconds: for which it has the device's one compute engine, if it needs that.
        """
        self.current()
        with self._lock:
            queue = self.stream(stream)
            start = max([now(), *(work.due for work in (queue.last, after) if work)])
            if seconds is not None:
                start = self._free_at = max(start, self._free_at) + seconds
            self._number += 1
            queue.last = Work(queue, action, start, self._number, after)
            queue.queue.append(queue.last)
            return queue.last

    def run(self, stream: int, action: Callable[[], None], rows: int) -> Work:
        """Queue an engine, of a batch of so many rows."""
        each, more = (self.properties.get(name, 0) for name in ("milliseconds", "milliseconds_per_row"))
        work = self.queue(stream, action, seconds=(each + more * rows) / 1000)
        self._count("run")
        return work

    def follows(self, stream: int, before: Work) -> bool:
        """Whether what is queued on the stream from now on comes after this work."""
        with self._lock:
            return before.done or _reaches(self.stream(stream), self._number, before)

    def record(self, event: int, stream: int) -> None:
        self.event(event).record = self.queue(stream, None)

    def wait_event(self, stream: int, event: int) -> None:
        """The stream waits for what the event stands for now; not at all for one that was never recorded."""
        self.queue(stream, None, after=self.event(event).record)

    def synchronize(self, stream: int | None = None) -> None:
        """The host waits for a stream, or for all."""
        self.current()
        last = [self.stream(stream).last] if stream is not None else self._lasts()
        self._count("synchronize")
        self._wait(last)

    def synchronize_event(self, event: int) -> None:
        self.current()
        record = self.event(event).record
        self._count("synchronize")
        self._wait([record])

    def wait(self, work: Work) -> None:
        """For TensorRT's synchronous calls."""
        self._wait([work])

    def query(self, stream: int) -> bool:
        self.current()
        last = self.stream(stream).last
        return last is None or last.over

    def query_event(self, event: int) -> bool:
        self.current()
        record = self.event(event).record
        return record is None or record.over

    def elapsed(self, start: int, end: int) -> float:
        """Milliseconds between two recorded events."""
        self.current()
        events = [self.event(handle) for handle in (start, end)]
        if not all(event.record and event.timed for event in events):
            raise CudaError(INVALID_HANDLE)
        if not all(event.record.over for event in events):
            raise CudaError(NOT_READY)
        return (events[1].record.due - events[0].record.due) * 1000

    def destroy_stream(self, handle: int) -> None:
        """Its work is done nevertheless, when something waits for all."""
        if handle == 0:
            raise CudaError(INVALID_HANDLE)
        with self._lock:
            stream = self.stream(handle)
            del self._streams[handle]
            self._ending = [s for s in (*self._ending, stream) if s.last and not s.last.over]

    def destroy_event(self, handle: int) -> None:
        self.event(handle)
        del self._events[handle]

    def _lasts(self) -> list[Work | None]:
        with self._lock:
            return [stream.last for stream in (*self._streams.values(), *self._ending)]

    def _complete_all(self) -> None:
        self._wait(self._lasts())

    def _wait(self, works: Iterable[Work | None]) -> None:
        """Do them with all that comes before them, then sleep until they are due."""
        awaited = [work for work in works if work is not None]
        with self._lock:
            if self._working:
                return  # work freed something: there is no waiting for it within itself
            self._working = True
            try:
                for work in awaited:
                    _do(work)
            finally:
                self._working = False
        while any(not work.over for work in awaited):
            pause(max(0.0, max(work.due for work in awaited) - now()))

    def _count(self, what: str, size: int | None = None) -> None:
        with self._lock:
            self.counts[what] += 1
            if size is not None:
                self.counts[f"{what} bytes"] += size

    def _handle(self) -> int:
        with self._lock:
            self._next += 512
            return self._next - 512


def _do(work: Work) -> None:
    """It, and before it what is in front of it in its stream."""
    while not work.done:
        head = work.stream.queue[0]
        if head.after is not None:
            _do(head.after)
        work.stream.queue.popleft()
        try:
            if head.action is not None:
                head.action()
        finally:
            head.done, head.action, head.after = True, None, None


def _reaches(stream: Stream, number: int, before: Work) -> bool:
    """Whether it is done once the stream is done up to this number."""
    if before.stream is stream and before.number <= number:
        return True
    awaited = [work.after for work in stream.queue if work.number <= number and work.after is not None]
    return any(_reaches(work.stream, work.number, before) for work in awaited)


def _fresh(size: int) -> ctypes.Array:
    content = (ctypes.c_ubyte * size)()
    ctypes.memset(content, 0xFF, size)
    return content


def _at(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


DEVICE = Device(json.loads(os.environ.get("TLEE_DOUBLE_DEVICE", "{}")))
