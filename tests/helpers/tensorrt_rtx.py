"""TensorRT-RTX, whose parser and builder work without a GPU (running needs one), through the code that users run."""

from __future__ import annotations

from pathlib import Path

from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.engines import worker
from tlee.engines.interface import Settings
from tlee.engines.planning import PRECISIONS, BuildOptions, EngineSpec, Machine, plan
from tlee.engines.releases import load


def build(model: bytes) -> int:
    """Parse and build an ONNX model; returns the engine's size in bytes, raises EngineError with NVIDIA's words."""
    return load("rtx").build(model, Settings(workspace=1 << 30)).engine.nbytes


def build_all(bundle: Bundle, folder: Path) -> list[EngineSpec]:
    """Every segment and fused exit in every precision, as the worker of tlee-build builds it; returns what was
    built."""
    machine = Machine(**worker.describe(str(folder), {"target": "rtx"}))
    requests = [
        BuildOptions(precision, exit_graphs=exit_graphs)
        for precision in PRECISIONS
        for exit_graphs in (SEPARATE, FUSED)
    ]
    specs = {spec.source: spec for request in requests for spec in plan(bundle, machine, request)}
    for spec in specs.values():
        request = {"target": "rtx", "bundle": bundle.path, "workspace": 1 << 30, "timing": None}
        request.update(source=spec.source, cache=spec.cache, settings=spec.settings._asdict())
        worker.build(str(folder), request)
        assert (folder / worker.ENGINE).stat().st_size > 0
        (folder / worker.ENGINE).unlink()
    return list(specs.values())
