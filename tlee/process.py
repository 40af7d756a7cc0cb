"""A command's process: standard streams that may fail, and signals that ask it to end."""

import atexit
import contextlib
import functools
import io
import os
import signal
import sys
import threading
import time
from typing import Any, List, Optional

from tlee.errors import printable
from tlee.files import keep_lines

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that ask a process to end
INTERRUPTED = 130  # the status of a process that one of them ended
WATCH = "watch"  # name of a thread
SAME_REQUEST = 1.0  # seconds: a parent process may pass on a signal that the terminal has sent already
interrupted: List[float] = []  # when this process was told to end
_ended: List[int] = []  # the command's status, once it has one


def report(program: str, error: object) -> None:
    """One line on standard error."""
    sys.stderr.write(f"{program}: {printable(error)}\n")


class Output(io.TextIOWrapper):
    """Standard output or error whose first `error` is kept for the end of the command and does not stop its work."""

    error: Optional[OSError] = None

    def write(self, text: str) -> int:
        if self.error is None:
            try:
                return super().write(text)
            except OSError as error:
                self.error = error
        return len(text)

    def flush(self) -> None:
        if self.error is None:
            try:
                super().flush()
            except OSError as error:
                self.error = error


def output_failed() -> bool:
    """Whether standard output is lost: a command that writes nothing else may stop."""
    return isinstance(sys.stdout, Output) and sys.stdout.error is not None


def own_streams() -> None:
    """Make the standard streams usable even if the caller closed them, and for names in any encoding."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # closed: the next file that is opened would get its number
            nowhere = os.open(os.devnull, os.O_RDWR if name == "stderr" else os.O_RDONLY)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))
    for name in ("stdout", "stderr"):
        # A name may hold what the terminal's encoding cannot (ASCII in many containers): shown escaped.
        stream = getattr(sys, name)
        encoding, lines = stream.encoding, stream.isatty() or name == "stderr"
        setattr(sys, name, Output(stream.detach(), encoding, "backslashreplace", line_buffering=lines))


def own_signals(program: str) -> None:
    """Let Ctrl-C, SIGTERM and a closed terminal end this process with one line, whatever it is doing."""
    atexit.register(_on_signals, signal.SIG_IGN)  # last of all; then Python would let them kill it
    _on_signals(functools.partial(_interrupt, program, os.getpid()))

    def swallowed(error: Any) -> None:
        # Such as in the finaliser of an object that a library failed to make; the error itself is reported elsewhere.
        if isinstance(error.exc_value, KeyboardInterrupt):
            _end(program)

    if hasattr(sys, "unraisablehook"):  # of Python 3.8
        sys.unraisablehook = swallowed  # novm


def _on_signals(handler: Any) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup does
            signal.signal(number, handler)


def _interrupt(program: str, owner: int, number: int, frame: Any) -> None:
    if os.getpid() != owner:  # forked by a library: the process that forked it ends it
        if number != signal.SIGINT:
            os._exit(128 + number)
        return
    now = time.monotonic()
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    if frame is None:  # else a library is being imported, which would replace or swallow an exception
        if not interrupted:
            interrupted.append(now)
            raise KeyboardInterrupt
        if now - interrupted[0] < SAME_REQUEST:
            return
    _end(program)


def _end(program: str) -> None:
    """End at once: what is half-written has a temporary name, which the next run removes."""
    with contextlib.suppress(OSError):
        os.write(2, f"{program}: interrupted\n".encode())
    os._exit(INTERRUPTED)


def watch(program: str, patience: float) -> None:
    """Let this process end, `patience` seconds after it is told to, even if a call into a library does not come back;
    complete lines of `atomic_write` are kept."""

    def wait() -> None:
        os.read(reading, 1)
        time.sleep(patience)
        keep_lines()
        if not _ended:
            report(program, "interrupted")
        os._exit(INTERRUPTED)

    with contextlib.suppress(OSError, RuntimeError):  # no descriptor or thread left: then it waits
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing)  # written to when a signal comes, not when Python handles it
        threading.Thread(target=wait, name=WATCH, daemon=True).start()


def end(status: int) -> None:
    """End this process, even if a thread is stuck in a library."""
    _ended.append(status)
    _on_signals(lambda number, frame: os._exit(status))  # while threads and libraries end
    threads = [thread.name for thread in threading.enumerate() if thread.daemon]
    if WATCH in threads and len(threads) > 1:
        sys.stderr.flush()
        os._exit(status)
    if interrupted:
        exec("")  # else Python, which saw the interrupt pass through such a call, would kill itself with SIGINT
    sys.exit(status)
