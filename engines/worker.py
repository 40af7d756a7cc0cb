"""What runs in a process of its own, so that TensorRT's memory comes back and its crashes take nothing along.

    python -m tlee.engines.worker ACTION FOLDER PARENT ANSWER     # with a JSON object on standard input

ACTION is one of `ACTIONS`; what it returns goes to the descriptor ANSWER, and so does a `TleeError`. PARENT is the
process that wants it: without it there is nothing to do.
`tlee.engines.process` is the other side.
"""

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any, Dict, Optional

from tlee.bundle import Bundle
from tlee.engines.check import differences
from tlee.engines.cuda import Gpu, opened_cuda
from tlee.engines.jobs import Job
from tlee.engines.layers import layers
from tlee.engines.releases import Settings, load
from tlee.engines.store import Recorded, read_recorded
from tlee.errors import CANNOT_WRITE, CHOOSE_FOLDER, EngineError, TleeError, UsageError, remedy_of

ENGINE, TIMING = "engine", "timing"
WORST = 1e9  # of differences that are infinite: JSON has no such number
PR_SET_PDEATHSIG = 1  # of prctl(2)


def describe(folder: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """The machine, as the fields of `tlee.engines.jobs.Machine`.

    Args:
        request: `target`, see `tlee.engines.releases.load`.
    """
    release, gpu = load(request["target"]), _gpu(request["target"])
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
    """Build one engine: FOLDER/engine, and FOLDER/timing where the release has a timing cache.

    Args:
        request: `target`; `bundle`, its folder; `job`, the fields of a `Job`; `workspace`, bytes; `timing`, what is
            `Recorded` of an earlier timing cache, or None.
    """
    start, job = time.time(), Job(**request["job"])
    bundle, release = Bundle.open(request["bundle"]), load(request["target"])
    settings = Settings(
        request["workspace"],
        job.fp16,
        job.int8,
        tuple(job.fp32_layers),
        bundle.read_file(job.cache) if job.cache else None,
        read_recorded(Recorded(*request["timing"])) if request["timing"] else None,
        job.dla,
        job.batch,
    )
    built = release.build(bundle.read_file(job.source), settings)
    _write(os.path.join(folder, ENGINE), built.engine)
    if built.timing is not None:
        _write(os.path.join(folder, TIMING), built.timing)
    return {"seconds": round(time.time() - start, 1)}


def check(folder: str, request: Dict[str, Any]) -> Dict[str, Any]:
    """Run an engine on the bundle's recorded activations, and look at its layers.

    Args:
        request: `target`, `bundle`, `graph`; `engine`, what is `Recorded` of it, for up to `batch` videos.

    Returns:
        differences: by output, see `tlee.activations.difference`.
        layers: by name of the layer, what it computes in.
    """
    content = read_recorded(Recorded(*request["engine"]))
    bundle, release = Bundle.open(request["bundle"]), load(request["target"])
    with opened_cuda() as cuda:
        engine = release.deserialize(content)
        found = differences(release, cuda, engine, bundle, request["graph"], request["batch"])
        found = {name: min(value, WORST) for name, value in found.items()}
        result = {"differences": found, "layers": layers(release.layers(engine))}
        del engine  # before the CUDA context that it was made in
        return result


ACTIONS = {"describe": describe, "build": build, "check": check}


def _gpu(target: str) -> Optional[Gpu]:
    try:
        with opened_cuda() as cuda:
            return cuda.gpu()
    except UsageError:
        if target == "rtx":  # which builds without a GPU
            return None
        raise


def _write(path: str, content: Any) -> None:
    try:
        with open(path, "wb") as stream:
            stream.write(content)  # TensorRT's own memory: a copy may not fit beside it
    except OSError as error:
        raise UsageError(os.path.dirname(path), CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None


def main() -> None:
    # Whoever started this may be killed: an orphan would go on taking the board's memory for minutes.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    action, folder, parent, answer = sys.argv[1:]
    if os.getppid() != int(parent):  # killed before that was asked for
        sys.exit(1)
    try:
        result = ACTIONS[action](folder, json.load(sys.stdin))
    except TleeError as error:
        result = {"error": _said(error)}
    except MemoryError:
        result = {"error": _said(EngineError("memory", "ran out", "add swap, or give it less with --workspace MB"))}
    except OSError as error:
        remedy = remedy_of(error, "check the path and the system's limits")
        result = {"error": _said(UsageError(error.filename or "system", error.strerror or error, remedy))}
    with open(int(answer), "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def _said(error: TleeError) -> Dict[str, Any]:
    own = isinstance(error, EngineError)
    return {"subject": error.subject, "problem": error.problem, "remedy": error.remedy, "of_engine": own}


if __name__ == "__main__":
    main()
