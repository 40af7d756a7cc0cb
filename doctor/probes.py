"""Runs `tlee.doctor.probe` for several libraries concurrently. The probe itself imports little: it is started once for
each library.
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
    """Probe libraries concurrently.

    Args:
        names: of the functions of `tlee.doctor.probe`, each with its arguments.
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
            said.write(b" " * ROOM)  # a full disk is an error here, and not a library that says nothing
            said.seek(0)
            command = [sys.executable, "-m", "tlee.doctor.probe"] + name
            process = subprocess.Popen(command, stdout=said, stderr=said, env=values, cwd="/")
            opened.callback(process.wait)
            opened.callback(process.kill)  # no signal is sent to one that has ended
            started.append((name[0], said, process))
        for library, said, process in started:
            try:
                process.wait(max(0.0, end - time.monotonic()))
                said.seek(0)
                found[library] = _result(process.returncode, said.read().decode("utf-8", "replace"))
            except subprocess.TimeoutExpired:
                found[library] = {"problem": f"its import does not end within {patience:g} s"}
    return found


def _result(status: int, said: str) -> Found:
    if status < 0:
        return {"problem": f"its import crashes (signal {-status})", "signal": -status}
    last = ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1]
    if status != 0:
        return {"problem": "its import failed: " + last[:200]}
    try:
        found: Found = json.loads(last)
        return found
    except ValueError:  # a part of it
        raise UsageError(tempfile.gettempdir(), "no room for what is found", "make room") from None
