"""What the graphs of a bundle cost on a device, for `tlee-tune`."""

from typing import Any, Dict

from tlee.bundle import FUSED, Bundle
from tlee.errors import UsageError
from tlee.reports.estimate import Estimate
from tlee.reports.fit import BOARDS

FORMAT = 1


def profile(report: Dict[str, Any]) -> Dict[str, Any]:
    """Mean milliseconds, and gross millijoules where power was measured, of each graph and of reading a frame.

    Raises:
        UsageError: the graphs were not measured, or the report does not say what they compute.
    """
    if not report["graphs"]:
        raise UsageError("profile", "the graphs were not measured", "let the measurement come to its end")
    if not all(isinstance(part.get("macs"), int) for part in report["graphs"]):
        raise UsageError("profile", "the report does not say what its graphs compute", "measure anew")
    environment = report["environment"]
    return {
        "format": FORMAT,
        "device": environment["device"],
        "backend": environment["backend"],
        "precision": environment["precision"],
        "bundle": report["bundle"]["sha256"],
        "power": report["power"]["total"] if report["power"]["source"] != "none" else None,
        "graphs": {part["name"]: _costs(part) for part in report["graphs"]},
    }


def estimated_profile(bundle: Bundle, estimated: Estimate) -> Dict[str, Any]:
    """The same of a board that is not here. Its name says what it is, also in what is made with it."""
    times = estimated.milliseconds
    return {
        "format": FORMAT,
        "device": f"{BOARDS[estimated.board].title} (estimate)",
        "precision": estimated.precision,
        "graphs": {
            name: {"milliseconds": times[name], "macs": bundle.graph(name).macs} for name in bundle.chain(FUSED)
        },
    }


def _costs(part: Dict[str, Any]) -> Dict[str, float]:
    costs = {"milliseconds": part["latency"]["mean"]["value"], "macs": part["macs"]}
    if part["energy"]:
        costs["millijoules"] = part["energy"]["gross"]
    return costs
