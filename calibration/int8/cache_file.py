"""The calibration cache: the scales that TensorRT 8 to 10 take for implicit INT8 quantisation, as text.

    TRT-8201-EntropyCalibration2
    x0: 3c010204

The release that wrote it and its algorithm, then for every tensor its name and its scale, the largest magnitude to
represent / 127, as the eight hexadecimal digits of a big-endian IEEE-754 single.

Source: NVIDIA's TensorRT developer guide, the chapter on INT8 calibration; for the digits, NVIDIA's TAO exporter and
the caches that TensorRT itself writes.
"""

import math
import re

import numpy as np

from tlee.calibration_cache import cache_lines, damaged, header_of
from tlee.errors import UsageError

_DIGITS = re.compile(r"[0-9a-fA-F]{8}")


def write_cache(scales: dict[str, float], version: str) -> bytes:
    """A cache for one release of TensorRT, its `__version__`, from the scales of tensors in the order to write.

    Raises:
        UsageError: a scale that is no positive single, a name that fits on no line, or no version.

    Examples:
        >>> write_cache({"x0": 1 / 127}, "8.2.1")
        b'TRT-8201-EntropyCalibration2\\nx0: 3c010204\\n'
    """
    lines = [header_of(version)]
    for name, scale in scales.items():
        if not name or "\n" in name:
            raise UsageError("calibration cache", f"no line holds a tensor named {name!r}", "rename the tensor")
        with np.errstate(over="ignore"):
            single = np.array(scale, ">f4")
        if not 0 < single < math.inf:
            raise UsageError(f"tensor {name}", f"its scale {scale!r} is no positive single", "calibrate again")
        lines.append(f"{name}: {single.tobytes().hex()}")
    return "".join(line + "\n" for line in lines).encode("utf-8")


def read_cache(content: bytes) -> tuple[str, dict[str, float]]:
    """A cache's header, such as `TRT-8201-EntropyCalibration2`, and the scales by tensor.

    Raises:
        BundleError: the cache is damaged; names the line.
    """
    header, lines = cache_lines(content)
    scales: dict[str, float] = {}
    for number, line in enumerate(lines, 2):
        name, _, digits = line.rpartition(": ")  # names hold colons and spaces themselves
        scale = float(np.frombuffer(bytes.fromhex(digits), ">f4")[0]) if _DIGITS.fullmatch(digits) else 0.0
        if not name or name in scales or not 0 < scale < math.inf:
            raise damaged(number)
        scales[name] = scale
    return header, scales
