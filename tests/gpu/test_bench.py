"""`tlee-bench` on a real GPU: TensorRT engines by the GPU's own clock, and its energy by NVML.

python -m pytest tests/gpu/test_bench.py
"""

from __future__ import annotations

import pytest
from conftest import enliven, small_model

from tlee.benchmarks.bench import Bench, Plan
from tlee.benchmarks.videos import synthetic_videos
from tlee.errors import UsageError
from tlee.export.exporter import export_bundle
from tlee.modes import NONE, RANDOM
from tlee.power.sources import open_source
from tlee.runtime.backends import BackendConfig
from tlee.runtime.onnx_session import has_provider


@pytest.fixture
def power():
    try:
        source, _ = open_source("nvml")
    except UsageError as error:
        pytest.skip(str(error))
    source.close()
    return "nvml"


def test_energy_and_time_of_every_graph_are_known(power, tmp_path, small_checkpoint):
    if not has_provider("cuda"):
        pytest.skip("ONNX Runtime has no CUDA provider here: pip install onnxruntime-gpu")
    bundle = export_bundle(enliven(small_model()), tmp_path / "small.tlee", small_checkpoint, verified=False)
    plan = Plan([NONE, RANDOM], [None], rounds=3, cold=0, sustained=2.0, power=power)
    report = Bench(bundle, BackendConfig("cuda"), synthetic_videos(bundle), plan, lambda text: None).run()
    assert report["power"]["source"] == "nvml" and report["power"]["idle"]["watts"] > 0
    assert all(mode["overlapped"] for mode in report["modes"])
    for measured in report["modes"] + report["graphs"]:
        assert all(block["joules"] > 0 for block in measured["blocks"])
