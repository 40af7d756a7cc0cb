"""What each layer of an engine computes in, from what TensorRT's engine inspector says of it.

The inspector's JSON is not specified: its words differ from release to release. So types are looked for by their names.
"""

import json
import re
from collections import Counter
from typing import Any, Dict, List

UNKNOWN = "unknown"
_TYPES = [
    ("int8", re.compile(r"\b(int8|qint8)\b", re.IGNORECASE)),
    ("fp16", re.compile(r"\b(fp16|half|float16)\b", re.IGNORECASE)),
    ("fp32", re.compile(r"\b(fp32|float|float32)\b", re.IGNORECASE)),
]


def layers(inspected: str) -> List[Dict[str, str]]:
    """Name, type and precision of an engine's layers.

    A layer's precision is that of its weights, or if it has none, of its first input that is no whole number: a fused
    layer that takes int8 and gives float32 computes in int8.

    Args:
        inspected: of `get_engine_information` in JSON.
    """
    found = json.loads(inspected).get("Layers", [])
    return [_layer(entry if isinstance(entry, dict) else {"Name": entry}) for entry in found]


def summary(found: List[Dict[str, str]]) -> str:
    """How many layers compute in what.

    Example:
        >>> summary([{"precision": "fp16"}, {"precision": "fp32"}, {"precision": "fp16"}])
        '2 fp16, 1 fp32'
    """
    counts = Counter(layer["precision"] for layer in found)
    return ", ".join(f"{count} {precision}" for precision, count in sorted(counts.items()))


def _layer(entry: Dict[str, Any]) -> Dict[str, str]:
    described = [entry.get("Weights")] + list(entry.get("Inputs", [])) + list(entry.get("Outputs", []))
    known = [precision for precision in map(_precision, described) if precision]
    kind = entry.get("LayerType") or UNKNOWN
    return {"name": entry.get("Name", ""), "type": kind, "precision": known[0] if known else UNKNOWN}


def _precision(described: Any) -> str:
    """Of weights, {"Type": "Half"}, or of a value, {"Format/Datatype": "Row major linear FP32"}; else ""."""
    keys = ("Type", "Format/Datatype", "Datatype", "DataType")
    text = " ".join(str(described.get(key, "")) for key in keys) if isinstance(described, dict) else ""
    return next((name for name, pattern in _TYPES if pattern.search(text)), "")
