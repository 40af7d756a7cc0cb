"""Daemon threads for calls into OpenCV or a driver, which cannot be interrupted and may never return. Unlike those of
`concurrent.futures`, they do not keep the process from ending then.
"""

import contextlib
import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, List, Optional

PATIENCE = 1.0  # seconds that closing waits; a frame of a camera takes some 0.03


class Background:
    """At most `count` threads, started when needed, that make calls in the order of submission."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: List[threading.Thread] = []
        self._calls: queue.Queue[Any] = queue.Queue()
        self._closed = False

    def submit(self, function: Callable[[], Any]) -> "Optional[Future[Any]]":
        """Queue a call; None if this is closed, or the system gives it no thread at all."""
        if not self._closed and len(self._threads) < self._count:
            self._start()
        if self._closed or not self._threads:
            return None
        future: Future[Any] = Future()
        self._calls.put((future, function))
        return future

    @property
    def calls_here(self) -> bool:
        """Whether the calling thread is one of these."""
        return threading.current_thread() in self._threads

    def close(self) -> None:
        """End the threads after the queued calls; does not wait for one that is stuck."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _start(self) -> None:
        thread = threading.Thread(target=_work, args=(self._calls,), daemon=True)
        with contextlib.suppress(RuntimeError):  # the system has none left
            thread.start()
            self._threads.append(thread)


def _work(calls: "queue.Queue[Any]") -> None:
    while True:
        call = calls.get()
        if call is None:
            return
        future, function = call
        if future.set_running_or_notify_cancel():
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        del call, future, function  # so that nothing is kept alive while it waits
