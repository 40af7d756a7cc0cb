"""Runs `tlee.engines.worker` and says in one line what became of it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict

from tlee.engines import worker
from tlee.engines.memory import MIB
from tlee.errors import EngineError, UsageError

TICK = 0.2  # seconds between calls of `waiting`
OUT_OF_MEMORY = (
    "add swap (docs/troubleshooting.md), give it less with --workspace {}, stop the desktop (sudo systemctl isolate"
    " multi-user.target), then run the same again: finished engines are kept"
)


def run(action: str, folder: str, request: Dict[str, Any], waiting: Callable[[], None] = lambda: None) -> Any:
    """Do one of the worker's actions in a process of its own.

    Args:
        folder: for what the worker writes.
        waiting: called while it runs.

    Raises:
        EngineError: no engine came of it, or the worker was killed or crashed.
        UsageError: everything else that the worker raised.
    """
    with tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "tlee.engines.worker", action, folder, str(os.getpid())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        try:
            with contextlib.suppress(BrokenPipeError):  # it may have ended already
                process.stdin.write(json.dumps(request).encode("utf-8"))  # type: ignore[union-attr]
                process.stdin.close()  # type: ignore[union-attr]
            while _runs(process):
                waiting()
        finally:  # also when interrupted
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode != 0:
            said.seek(0)
            raise _ended(process.returncode, said.read().decode("utf-8", "replace"), request)
    with open(os.path.join(folder, worker.RESULT), encoding="utf-8") as stream:
        result = json.load(stream)
    if "error" in result:
        error = result["error"]
        kind = EngineError if error["of_engine"] else UsageError
        raise kind(error["subject"], error["problem"], error["remedy"])
    return result


def _runs(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it still does, some time later."""
    try:
        process.wait(TICK)
    except subprocess.TimeoutExpired:
        return True
    return False


def _ended(status: int, said: str, request: Dict[str, Any]) -> EngineError:
    """Why a worker ended without a result."""
    subject = request.get("graph", "TensorRT")
    if status == -signal.SIGKILL:
        size = request.get("workspace", 0) // MIB
        problem = "killed, most likely by the kernel because memory ran out"
        return EngineError(subject, problem, OUT_OF_MEMORY.format(max(size // 4, 16)))
    last = ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1][:300]
    how = "crashed ({})".format(signal.Signals(-status).name) if status < 0 else "failed"
    return EngineError(subject, "TensorRT {}: {}".format(how, last), "report it with the bundle's tlee-info")
