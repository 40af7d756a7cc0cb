"""The header of a TensorRT calibration cache, which names the release that wrote it.

`tlee.calibration.int8.cache_file` has the format and writes caches; a device only puts its own release there.
"""

import re
from typing import List, Tuple

from tlee.errors import BundleError, UsageError

_HEADER = re.compile(r"TRT-[0-9]+-EntropyCalibration2")


def for_release(content: bytes, version: str) -> bytes:
    """The same cache for another release: TensorRT refuses one whose header does not name its own. Raises BundleError
    where the cache is damaged, UsageError where `version` is none."""
    return header_of(version).encode("ascii") + content[len(cache_lines(content)[0]) :]


def header_of(version: str) -> str:
    """With NV_TENSORRT_VERSION, the release as one number, which counts differently from 10 on."""
    numbers = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", version)
    if not numbers:
        raise UsageError("TensorRT version", f"{version!r} is none", "give it as in 8.2.1")
    major, minor, patch = map(int, numbers.groups())
    return f"TRT-{major * (1000 if major < 10 else 10000) + minor * 100 + patch}-EntropyCalibration2"


def cache_lines(content: bytes) -> Tuple[str, List[str]]:
    """The header and the lines behind it."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(content.count(b"\n", 0, error.start) + 1) from None
    header, *lines = text.split("\n")  # not splitlines: a name may hold other separators
    if not _HEADER.fullmatch(header):
        raise damaged(1)
    if not text.endswith("\n"):
        raise damaged(text.count("\n") + 1)
    return header, lines[:-1]


def damaged(line: int) -> BundleError:
    return BundleError("calibration cache", f"damaged in line {line}", "export again")
