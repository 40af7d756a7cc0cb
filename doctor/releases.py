"""What NVIDIA's JetPack releases consist of, as far as tlee is made for them.

Source: NVIDIA's JetPack archive and the release notes of each; what pip installs is that of install/jetpack*.txt.
"""

from typing import NamedTuple, Optional, Tuple


class JetPack(NamedTuple):
    """cuda: of the toolkit, as its Debian packages write it; binding: what pip installs to reach CUDA from Python;
    compiled: that is compiled then, which needs the toolkit."""

    name: str
    python: str
    cuda: str
    binding: str
    compiled: bool


OLDEST = (32, 7)  # JetPack 4.6.1: that of 4.6, 32.6, has TensorRT 8.0
PYCUDA, WHEEL = "pycuda==2022.1", "cuda-bindings==12.9.10"
JETPACKS = [  # the first and the last release of L4T, minor ones not counted
    ((32, 7), (32, 7), JetPack("4.6", "3.6", "10-2", PYCUDA, True)),
    ((34, 1), (35, 1), JetPack("5.0", "3.8", "11-4", PYCUDA, True)),
    ((35, 2), (35, 6), JetPack("5.1", "3.8", "11-4", PYCUDA, True)),
    ((36, 2), (36, 3), JetPack("6.0", "3.10", "12-2", WHEEL, False)),
    ((36, 4), (36, 5), JetPack("6.1 or 6.2", "3.10", "12-6", WHEEL, False)),
]


def numbers(release: str) -> Tuple[int, int]:
    """Of a release such as 32.7.1 the first two."""
    parts = [int(part) for part in release.split(".")[:2] if part.isdigit()] + [0, 0]
    return parts[0], parts[1]


def jetpack(l4t: str) -> Optional[JetPack]:
    """None where the release is not known here."""
    fitting = [row for first, last, row in JETPACKS if first <= numbers(l4t) <= last]
    return fitting[0] if fitting else None
