"""What a measurement ran on."""

import os
import platform
import sys
from typing import Any, Dict, Optional, Sequence

import tlee

Numbers = Dict[str, Any]


def others_seconds() -> float:
    """Seconds that cores were busy so far with other programs than this and its children that have ended."""
    with open("/proc/stat", encoding="utf-8") as stream:
        user, nice, system = map(int, stream.readline().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def machine(threads: Optional[int] = None) -> Numbers:
    cores = len(os.sched_getaffinity(0))
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "cores": cores,
        "threads": threads or cores,
    }


def _processor() -> str:
    # A board says what it is itself; its processor's name alone would not tell one from another.
    for path, start in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as stream:
                for line in stream:
                    if line.startswith(start):
                        return line.split(":")[-1].strip("\0 \n\t")
    return "unknown processor"


def versions(libraries: Sequence[str]) -> Dict[str, str]:
    """Releases of Python, of this and of libraries that are imported."""
    found = {"python": platform.python_version(), "tlee": tlee.__version__}
    found.update((name, sys.modules[name].__version__) for name in libraries if name in sys.modules)
    return found
