"""Runs `tlee.engines.worker` and says in one line what became of it."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from typing import IO, Any, Callable, Dict, Iterator, Tuple

from tlee.engines.memory import MIB
from tlee.errors import EngineError, UsageError
from tlee.reading import parse_json

TICK = 0.2  # seconds between calls of `waiting`, at most
BLOCK, ANSWER = 1 << 16, 16 << 20  # bytes: of what a worker said last, and of an answer; those have some 100 kB
REPORT = "report it with the bundle's tlee-info"
OUT_OF_MEMORY = (
    "add swap (docs/troubleshooting.md), give it less with --workspace {}, stop the desktop (sudo systemctl isolate"
    " multi-user.target), then run the same again: finished engines are kept"
)


def run(action: str, folder: str, request: Dict[str, Any], waiting: Callable[[], None] = lambda: None) -> Any:
    """Do one of the worker's actions in a process of its own.

    Args:
        folder: where the worker puts an engine.
        waiting: called while it runs.

    Raises:
        EngineError: no engine came of it, or the worker was killed or crashed.
        UsageError: everything else that the worker raised.
    """
    subject = request.get("graph", "TensorRT")
    with _started(action, folder) as (process, answers):
        with contextlib.suppress(BrokenPipeError):  # it may have ended already
            process.stdin.write(json.dumps(request).encode("utf-8"))  # type: ignore[union-attr]
            process.stdin.close()  # type: ignore[union-attr]
        said, answer = _heard(process.stdout, answers, waiting)  # type: ignore[arg-type]
        status = process.wait()
    if status != 0:
        raise _ended(status, said.decode("utf-8", "replace"), request)
    try:
        result = parse_json(answer)
    except ValueError as problem:
        raise EngineError(subject, f"TensorRT's process gave no readable answer ({problem})", REPORT) from None
    if "error" in result:
        error = result["error"]
        kind = EngineError if error["of_engine"] else UsageError
        raise kind(error["subject"], error["problem"], error["remedy"])
    return result


@contextlib.contextmanager
def _started(action: str, folder: str) -> Iterator[Tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """A worker, and the pipe that its answer comes through: it needs no room on a disk. Killed at the end, also when
    interrupted."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as answers:
        command = [sys.executable, "-m", "tlee.engines.worker", action, folder, str(os.getpid()), str(writing)]
        pipes: Dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            process = subprocess.Popen(command, pass_fds=[writing], **pipes)
        finally:
            os.close(writing)
        with process:
            try:
                yield process, answers
            finally:
                if process.poll() is None:
                    process.kill()


def _heard(said: IO[bytes], answers: IO[bytes], waiting: Callable[[], None]) -> Tuple[bytes, bytes]:
    """What a worker said last, and its answer, once it has closed both pipes."""
    heard = {said: bytearray(), answers: bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(said, selectors.EVENT_READ)
        selector.register(answers, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select(TICK):
                pipe = answers if key.fileobj is answers else said
                part = os.read(pipe.fileno(), BLOCK)
                if not part:
                    selector.unregister(pipe)
                heard[pipe] += part
                del heard[pipe][: -ANSWER if pipe is answers else -BLOCK]
            waiting()
    return bytes(heard[said]), bytes(heard[answers])


def _ended(status: int, said: str, request: Dict[str, Any]) -> EngineError:
    """Why a worker ended without a result."""
    subject = request.get("graph", "TensorRT")
    if status == -signal.SIGKILL:
        size = request.get("workspace", 0) // MIB
        problem = "killed, most likely by the kernel because memory ran out"
        return EngineError(subject, problem, OUT_OF_MEMORY.format(max(size // 4, 16)))
    last = ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1][:300]
    how = f"crashed ({signal.Signals(-status).name})" if status < 0 else "failed"
    return EngineError(subject, f"TensorRT {how}: {last}", REPORT)
