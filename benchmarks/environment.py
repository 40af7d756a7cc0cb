"""What a measurement ran on."""

import os
import platform
import sys
from typing import Any, Dict, Optional, Sequence

import tlee
from tlee import board

PACKAGES = {"nvidia-jetpack": "jetpack", "libnvinfer8": "tensorrt", "libnvinfer10": "tensorrt"}  # Debian's


def background_seconds() -> Optional[float]:
    """CPU seconds so far of other programs than this one and its ended children; None where the system does not say."""
    try:
        user, nice, system = map(int, board.read("proc/stat").split()[1:4])
    except ValueError:
        return None
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def background_cpu(before: Optional[float], seconds: float) -> Optional[float]:
    """Cores that other programs kept busy since `background_seconds` returned `before`, so many seconds ago."""
    after = background_seconds()
    return None if before is None or after is None else round(max(0.0, after - before) / seconds, 2)


def machine(threads: Optional[int]) -> Dict[str, Any]:
    """Processor and cores; `threads` is None for one a core."""
    device, cores = board.processor(), len(os.sched_getaffinity(0))
    return {"device": device, "architecture": platform.machine(), "cores": cores, "threads": threads or cores}


def versions(libraries: Sequence[str]) -> Dict[str, str]:
    """Releases of Python, tlee and those libraries that are imported."""
    found = {"python": platform.python_version(), "tlee": tlee.__version__}
    for name in libraries:
        if hasattr(sys.modules.get(name), "__version__"):
            found[name] = str(sys.modules[name].__version__)
    return found


def system() -> Dict[str, str]:
    """Releases of the system: of a Jetson L4T, JetPack and TensorRT, of any machine the kernel."""
    found, release = {"kernel": platform.release()}, board.l4t()
    if release:
        installed = board.packages(PACKAGES)
        found["l4t"] = release
        found.update({name: installed[package] for package, name in PACKAGES.items() if package in installed})
    return found
