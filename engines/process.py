"""Runs `tlee.engines.worker` and says in one line how it ended."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from typing import Any, Callable, Dict, Tuple

from tlee.engines.memory import MIB
from tlee.errors import EngineError, UsageError
from tlee.reading import parse_json

TICK = 0.2  # seconds between calls of `on_tick`, at most
REPORT = "report it with the bundle's tlee-info"
OUT_OF_MEMORY = (
    "add swap (docs/troubleshooting.md), give it less with --workspace {}, stop the desktop (sudo systemctl isolate"
    " multi-user.target), then run the same again: finished engines are kept"
)


def run(action: str, folder: str, request: Dict[str, Any], on_tick: Callable[[], None] = lambda: None) -> Any:
    """Run one of the worker's actions in a process of its own, and call `on_tick` while it runs.

    Raises:
        EngineError: there is no engine, or the worker was killed or crashed.
        UsageError: everything else that the worker raised.
    """
    status, answer, said = _run_worker(action, folder, json.dumps(request).encode("utf-8"), on_tick)
    subject = request.get("graph", "TensorRT")
    if status == -signal.SIGKILL:
        least = max(request.get("workspace", 0) // MIB // 4, 16)
        problem = "killed, most likely by the kernel because memory ran out"
        raise EngineError(subject, problem, OUT_OF_MEMORY.format(least))
    if status != 0:
        last = (said.decode("utf-8", "replace").strip() or "it said nothing").splitlines()[-1][:300]
        how = f"crashed ({signal.Signals(-status).name})" if status < 0 else "failed"
        raise EngineError(subject, f"TensorRT {how}: {last}", REPORT)
    try:
        result = parse_json(answer)
    except ValueError as problem:
        raise EngineError(subject, f"TensorRT's process gave no readable answer ({problem})", REPORT) from None
    if "error" in result:
        kind, *said_by_worker = result["error"]
        raise (EngineError if kind == "EngineError" else UsageError)(*said_by_worker)
    return result


def _run_worker(action: str, folder: str, request: bytes, on_tick: Callable[[], None]) -> Tuple[int, bytes, bytes]:
    """Its exit status, its answer, and what else it or a library said. Killed at the end, also when interrupted."""
    command = [sys.executable, "-m", "tlee.engines.worker", action, folder, str(os.getpid())]
    pipe = subprocess.PIPE
    # In a thread: Python 3.6 cannot call `communicate` again, after a timeout, if one of the pipes has ended by then.
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process, ThreadPoolExecutor(1) as thread:
        try:
            talk = thread.submit(process.communicate, request)
            while True:
                try:
                    answer, said = talk.result(TICK)
                    return process.returncode, answer, said
                except TimeoutError:
                    on_tick()
        finally:
            if process.poll() is None:
                process.kill()
