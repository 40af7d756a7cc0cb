"""Calls in other threads that nobody has to wait for: one into OpenCV or a driver cannot be interrupted, and may not
come back. Unlike with `concurrent.futures` it then keeps no process from ending.
"""

import queue
import threading
import time
from concurrent.futures import Future
from typing import Any, Callable, List

PATIENCE = 1.0  # seconds that closing waits; a frame of a camera takes some 0.03


class Background:
    """Threads that make calls in the order they were asked for.

    Args:
        count: calls at once, at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads: List[threading.Thread] = []
        self._calls: queue.Queue[Any] = queue.Queue()
        self._closed = False

    def submit(self, function: Callable[[], Any]) -> "Future[Any]":
        """Have a function called. Raises RuntimeError where the system gives no thread, or this is closed."""
        if self._closed:
            raise RuntimeError("closed")
        if len(self._threads) < self._count:
            self._start()
        future: Future[Any] = Future()
        self._calls.put((future, function))
        return future

    @property
    def calls_here(self) -> bool:
        """Whether this thread is one of its own: what it calls is asking."""
        return threading.current_thread() in self._threads

    def close(self) -> None:
        """Let the calls end that were asked for, and the threads; does not wait for one that is stuck."""
        self._closed = True
        for _ in self._threads:
            self._calls.put(None)
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _start(self) -> None:
        thread = threading.Thread(target=_work, args=(self._calls,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has none left
            if not self._threads:
                raise
            return
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
        del call, future, function  # while it waits it keeps nothing
