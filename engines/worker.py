"""What runs in a process of its own, so that TensorRT's memory comes back and its crashes take nothing along.

    python -m tlee.engines.worker ACTION FOLDER PARENT     # with a JSON object on standard input

ACTION is one of `ACTIONS`; what it returns, or a `TleeError`, goes to standard output. PARENT is the process that waits
for it: `tlee.engines.process`.
"""

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, Dict

from tlee.bundle import Bundle
from tlee.engines.check import differences, layers
from tlee.engines.cuda import opened_cuda
from tlee.engines.interface import Settings
from tlee.engines.releases import load
from tlee.engines.store import ENGINE, TIMING, FileRecord
from tlee.errors import CANNOT_WRITE, CHOOSE_FOLDER, EngineError, TleeError, UsageError, remedy_of

WORST = 1e9  # stands for differences that are infinite: JSON has no such number
PR_SET_PDEATHSIG = 1  # of prctl(2)


def describe(folder: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """The machine, as the fields of `tlee.engines.planning.Machine`. Of `request`: `target`."""
    release, gpu = load(request["target"]), None
    try:
        with opened_cuda() as cuda:
            gpu = cuda.gpu()
    except UsageError:
        if not release.portable:  # else it builds without a GPU
            raise
    return {
        "tensorrt": release.name,
        "gpu": gpu.name if gpu else None,
        "capability": "{}.{}".format(*gpu.capability) if gpu else None,
        "fast": release.fast(),
        "dla_cores": release.dla_cores(),
        "typed": release.typed,
        "calibrates": release.calibrates,
        "portable": release.portable,
        "integrated": gpu.integrated if gpu else False,
        "free": gpu.free if gpu else 0,
        "notes": release.notes,
    }


def build(folder: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Build one engine: FOLDER/engine, and FOLDER/timing.cache where the release has a timing cache.

    Args:
        request: `target`; `bundle`, its folder; `source` and `cache`, files of it; `settings`, and in place of its
            bytes `timing`, a `FileRecord` or None; `workspace`, bytes.
    """
    start, bundle, release = time.time(), Bundle.open(request["bundle"]), load(request["target"])
    settings = Settings(**request["settings"])._replace(
        workspace=request["workspace"],
        cache=bundle.read_file(request["cache"]) if request["cache"] else None,
        timing=FileRecord(*request["timing"]).read() if request["timing"] else None,
    )
    built = release.build(bundle.read_file(request["source"]), settings)
    try:
        for name, content in ((ENGINE, built.engine), (TIMING, built.timing)):
            if content is not None:
                with open(os.path.join(folder, name), "wb") as stream:
                    stream.write(content)  # from TensorRT's own memory: there may be no room for a copy
    except OSError as error:
        raise UsageError(folder, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None
    return {"seconds": round(time.time() - start, 1)}


def check(folder: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """`differences` and `layers` of an engine, see `tlee.engines.check`. Of `request`: `target`, `bundle`, `graph`;
    `engine`, its `FileRecord`; `batch`, the most videos it is for."""
    content = FileRecord(*request["engine"]).read()
    bundle, release = Bundle.open(request["bundle"]), load(request["target"])
    with opened_cuda() as cuda:
        engine = release.deserialize(content)
        found = differences(release, cuda, engine, bundle, request["graph"], request["batch"])
        finite = {name: min(value, WORST) for name, value in found.items()}
        result = {"differences": finite, "layers": layers(release.layers(engine))}
        del engine  # before the CUDA context that it was made in
        return result


ACTIONS = {"describe": describe, "build": build, "check": check}


def main() -> None:
    # The process that started this may be killed: an orphan would go on taking the board's memory for minutes.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    action, folder, parent = sys.argv[1:]
    if os.getppid() != int(parent):  # killed before that was asked for
        sys.exit(1)
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no part of the answer
    try:
        result = ACTIONS[action](folder, json.load(sys.stdin))
    except TleeError as error:
        result = _described(error)
    except MemoryError:
        result = _described(EngineError("memory", "ran out", "add swap, or give it less with --workspace MB"))
    except OSError as error:
        remedy = remedy_of(error, "check the path and the system's limits")
        result = _described(UsageError(error.filename or "system", error.strerror or error, remedy))
    with open(answer, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def _described(error: TleeError) -> Dict[str, Any]:
    kind = EngineError if isinstance(error, EngineError) else UsageError
    return {"error": [kind.__name__, error.subject, error.problem, error.remedy]}


if __name__ == "__main__":
    main()
