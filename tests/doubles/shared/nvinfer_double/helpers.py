"""Functions of the `tensorrt` module itself. Source: NVIDIA's Python API reference, Foundational Types and Plugin."""

from __future__ import annotations

from .log import ILogger
from .network import Dims
from .strict import member


def nptype(trt_type: object) -> type:
    """NumPy's type for a DataType.

    Raises:
        TypeError: NumPy has none.
    """
    import numpy as np

    names = {"FLOAT": "float32", "HALF": "float16", "BOOL": "bool_"}
    try:
        return getattr(np, names.get(trt_type.name, trt_type.name.lower()))
    except AttributeError:
        raise TypeError(f"Could not resolve TensorRT datatype {trt_type} to an equivalent numpy datatype.") from None


def volume(iterable: Dims) -> int:
    """The product; of a scalar's shape 1."""
    result = 1
    for size in iterable:
        result *= size
    return result


def init_libnvinfer_plugins(logger: ILogger | None, namespace: str) -> bool:
    return True


def short_names(data_type: type) -> dict[str, object]:
    """`tensorrt.float32` and the like."""
    names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
    return {names.get(name, name.lower()): member("DataType", name) for name in data_type.__members__}
