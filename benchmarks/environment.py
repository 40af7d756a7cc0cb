"""What a measurement ran on."""

import os
import platform
import sys
from typing import Any, Dict, Optional, Sequence

import tlee
from tlee import board

Numbers = Dict[str, Any]
PACKAGES = {"nvidia-jetpack": "jetpack", "libnvinfer8": "tensorrt", "libnvinfer10": "tensorrt"}  # Debian's


def others_seconds() -> Optional[float]:
    """Seconds that cores were busy so far with other programs than this and its children that have ended; None where
    the system does not say."""
    try:
        user, nice, system = map(int, board.read("proc/stat").split()[1:4])
    except ValueError:
        return None
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def cores(before: Optional[float], after: Optional[float], seconds: float) -> Optional[float]:
    """That others kept busy between two answers of `others_seconds`; None where that is not known."""
    return None if before is None or after is None else round(max(0.0, after - before) / seconds, 2)


def machine(threads: Optional[int] = None) -> Numbers:
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": board.processor(),
        "architecture": platform.machine(),
        "cores": cores,
        "threads": threads or cores,
    }


def versions(libraries: Sequence[str]) -> Dict[str, str]:
    """Releases of Python, of this and of libraries that are imported."""
    found = {"python": platform.python_version(), "tlee": tlee.__version__}
    for name in libraries:
        if hasattr(sys.modules.get(name), "__version__"):
            found[name] = str(sys.modules[name].__version__)
    return found


def system() -> Dict[str, str]:
    """Releases of what the device's maker installed; of a machine that is no Jetson its kernel alone."""
    found, release = {"kernel": platform.release()}, board.l4t()
    if release:
        installed = board.packages(PACKAGES)
        found["l4t"] = release
        found.update({name: installed[package] for package, name in PACKAGES.items() if package in installed})
    return found
