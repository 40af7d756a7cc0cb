"""What the graphs of a bundle cost on a device: what tlee-bench and tlee-report write for tlee-tune."""

from typing import Any, Dict, List

import numpy as np

from tlee.errors import UsageError

FORMAT = 1


def device_profile(measurement: Dict[str, Any]) -> Dict[str, Any]:
    """Mean milliseconds, and gross millijoules where power was measured, of each graph and of reading a frame.

    `measurement` is as tlee-bench writes it, see docs/benchmarks.md. Raises UsageError where it is without graphs."""
    if not measurement["graphs"]:
        raise UsageError("profile", "the graphs were not measured", "let the measurement come to its end")
    environment, power = measurement["environment"], measurement["power"]
    return {
        "format": FORMAT,
        **{key: environment[key] for key in ("device", "backend", "precision")},
        "bundle": measurement["bundle"]["sha256"],
        "power": power["total"] if power["source"] != "none" else None,
        "graphs": {graph["name"]: _costs(graph) for graph in measurement["graphs"]},
    }


def millijoules(blocks: List[Dict[str, Any]]) -> List[float]:
    """Of a run, in each block whose energy is known."""
    return [1000 * b["joules"] / len(b["milliseconds"]) for b in blocks if b["joules"] is not None]


def _costs(graph: Dict[str, Any]) -> Dict[str, float]:
    times = np.concatenate([block["milliseconds"] for block in graph["blocks"]])
    costs = {"milliseconds": float(times.mean()), "macs": graph["macs"]}
    energies = millijoules(graph["blocks"])
    return dict(costs, millijoules=float(np.mean(energies))) if energies else costs
