"""Runs `tlee.doctor.probe` for libraries beside each other, and says what became of each. The probe itself imports
little: it is started once for each library.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Mapping

from tlee.doctor.probe import Found
from tlee.errors import UsageError

ROOM = 4096  # bytes of what a library says
PATIENCE = 60.0  # seconds: from a cold SD card TensorRT takes ten and more


def run_all(names: List[List[str]], environment: Mapping[str, str], patience: float = PATIENCE) -> Dict[str, Found]:
    """Probe libraries beside each other.

    Args:
        names: of the functions of `tlee.doctor.probe`, each with the arguments that it takes.
        environment: of the processes.

    Raises:
        OSError, UsageError: there is no room for temporary files.
    """
    # In the root folder, with this process's own path: nothing in the folder where a user happens to be is imported.
    paths = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    paths += [os.path.abspath(path) for path in sys.path]
    values = dict(environment, PYTHONPATH=os.pathsep.join(paths), ORT_DISABLE_TELEMETRY="1", PYTHONIOENCODING="utf-8")
    end, found = time.monotonic() + patience, {}
    with contextlib.ExitStack() as opened:
        started = []
        for name in names:
            said = opened.enter_context(tempfile.TemporaryFile())
            said.write(b" " * ROOM)  # a disk that is full is told as such, and not as a library that says nothing
            said.seek(0)
            command = [sys.executable, "-m", "tlee.doctor.probe"] + name
            process = subprocess.Popen(command, stdout=said, stderr=said, env=values, cwd="/")
            opened.callback(_end, process)
            started.append((name[0], said, process))
        for library, said, process in started:
            try:
                process.wait(max(0.0, end - time.monotonic()))
                said.seek(0)
                found[library] = _result(process.returncode, said.read().decode("utf-8", "replace"))
            except subprocess.TimeoutExpired:
                found[library] = {"problem": f"its import does not end within {patience:g} s"}
    return found


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _result(status: int, said: str) -> Found:
    last = ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1]
    if status == 0:
        try:
            found: Found = json.loads(last)
        except ValueError:  # a part of it
            raise UsageError(tempfile.gettempdir(), "no room for what is found", "make room") from None
        return found
    if status < 0:
        return {"problem": f"its import crashes (signal {-status})", "signal": -status}
    return {"problem": "its import failed: " + last[:200]}
