"""What a measurement ran on."""

import os
import platform
import re
import subprocess
import sys
from typing import Any, Dict, Optional, Sequence

import tlee

Numbers = Dict[str, Any]
TEGRA = "/etc/nv_tegra_release"  # on Jetsons alone


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
    for name in libraries:
        if hasattr(sys.modules.get(name), "__version__"):
            found[name] = str(sys.modules[name].__version__)
    return found


def system() -> Dict[str, str]:
    """Releases of what the device's maker installed; of a machine that is no Jetson its kernel alone."""
    found = {"kernel": platform.release()}
    if os.path.exists(TEGRA):
        with open(TEGRA, encoding="utf-8", errors="replace") as stream:
            release = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", stream.readline())
        if release:
            found["l4t"] = ".".join(release.groups())
    if "l4t" in found:
        for name, package in (("jetpack", "nvidia-jetpack"), ("tensorrt", "libnvinfer8"), ("tensorrt", "libnvinfer10")):
            installed = _installed(package)
            if installed:
                found[name] = installed
    return found


def _installed(package: str) -> str:
    """The version of a Debian package, or nothing."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", package]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL, universal_newlines=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
