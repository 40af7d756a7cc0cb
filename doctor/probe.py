"""Imports one library and describes it: `python -m tlee.doctor.probe NAME [ARGUMENT]`, in a process of its own.

An import may crash, hang or find half of what it needs: all that becomes a finding. The last line of the output is
JSON: what was found, or `problem`, with `missing` where the library is not installed.
"""

import importlib
import json
import os
import re
import sys
from typing import Any, Callable, Dict

Found = Dict[str, Any]


def cv2() -> Found:
    built = importlib.import_module("cv2").getBuildInformation()
    return dict(_module("cv2"), gstreamer=bool(re.search(r"GStreamer: +YES", built)))


def onnxruntime() -> Found:
    providers = importlib.import_module("onnxruntime").get_available_providers()
    return dict(_module("onnxruntime"), providers=providers)


def tensorrt() -> Found:
    """Also whether tlee can use this release."""
    found = _module("tensorrt")
    from tlee.engines import releases
    from tlee.errors import UsageError

    try:
        return dict(found, notes=releases.load("tensorrt").notes)
    except UsageError as error:
        return dict(found, unsupported=error.problem)


def cuda() -> Found:
    """The GPU, through PyCUDA or cuda-python; a context is made."""
    problems = []
    for name in ("pycuda.driver", "cuda.bindings.driver"):
        try:
            importlib.import_module(name)
            break
        except ImportError as error:
            if not _is_missing(error, name):
                problems.append(f"{name.split('.')[0]}: {error}")
    else:
        return {"problem": problems[0], "library": True} if problems else {"problem": "not installed", "missing": True}
    from tlee.engines.cuda import opened_cuda
    from tlee.errors import TleeError

    try:
        with opened_cuda() as opened:
            gpu = opened.gpu()
    except TleeError as error:
        return {"problem": error.problem}
    return {"through": name.split(".")[0], "gpu": gpu.name, "capability": "{}.{}".format(*gpu.capability)}


def video() -> Found:
    """What video is read with: PyAV, or else GStreamer and some of its decoders."""
    try:
        return {"through": "PyAV", "version": str(importlib.import_module("av").__version__)}
    except ImportError as error:
        no_av = error
    try:
        from tlee.data.pipeline import Gst, start_gstreamer
    except ImportError as error:
        return {"problem": f"neither PyAV ({no_av}) nor GStreamer's Python ({error}) can be used", "missing": True}
    start_gstreamer()
    there = [name for name in ("avdec_h264", "qtdemux", "nvv4l2decoder") if Gst.ElementFactory.find(name)]
    return {"through": "GStreamer", "version": ".".join(map(str, Gst.version()[:3])), "elements": there}


def engines(bundle: str) -> Found:
    """How many of a bundle's own engines are in which state."""
    from tlee.bundle import Bundle
    from tlee.engines.builder import find_machine
    from tlee.engines.inventory import find_all
    from tlee.errors import BundleError, TleeError

    try:
        found = find_all(Bundle.open(bundle), os.path.join(bundle, "engines"), find_machine("tensorrt"))
        states = [engine.state for engine in found if engine.own]
    except BundleError as error:
        return {"unreadable": [error.subject, error.problem, error.remedy]}
    except TleeError as error:
        return {"problem": f"{error.subject}: {error.problem}"}
    return {"bundle": bundle, "states": {state: states.count(state) for state in states}}


def _module(name: str) -> Found:
    module: Any = importlib.import_module(name)
    return {"version": str(module.__version__), "file": os.path.abspath(module.__file__)}


def _is_missing(error: Exception, name: str) -> bool:
    """Whether it is the module itself or its package that was not found."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")


def main() -> None:
    probes: Dict[str, Callable[..., Found]] = {
        probe.__name__: probe for probe in (cv2, onnxruntime, tensorrt, cuda, video, engines)
    }
    name, *arguments = sys.argv[1:]
    try:
        found = probes[name](*arguments) if name in probes else _module(name)
    except Exception as error:  # whatever a library throws at its import
        found = {"problem": (" ".join(str(error).split()) or repr(error))[:300]}
        if _is_missing(error, name):
            found = {"problem": "not installed", "missing": True}
    sys.stdout.write("\n" + json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # what a driver's library does at its end is of no interest


if __name__ == "__main__":
    main()
