"""How much memory a build may take."""

from typing import Dict

from tlee.errors import UsageError

MIB = 1 << 20
# What TensorRT needs on top of a layer's scratch: CUDA, its kernels' libraries, the weights twice. Public reports from
# Jetson Nanos say 600 MB to 1 GB.
RESERVE = 1024 * MIB
LEAST, MOST = 32 * MIB, 1024 * MIB  # of the workspace; no layer of our backbones asks for more
MEMINFO = "/proc/meminfo"


def available(path: str = MEMINFO) -> int:
    """Bytes of memory that programs can get without swapping, as Linux estimates it. Raises UsageError."""
    try:
        with open(path) as stream:
            lines: Dict[str, str] = dict(line.split(":", 1) for line in stream if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        problem = "does not say how much memory is free, by which builds are sized"
        raise UsageError(path, problem, "mount it: mount -t proc proc /proc") from None


def workspace(free: int) -> int:
    """Bytes of scratch memory that a layer may take, where so many are free.

    Examples:
        >>> workspace(2600 * MIB) // MIB
        788
    """
    return min(MOST, max(LEAST, (free - RESERVE) // 2))
