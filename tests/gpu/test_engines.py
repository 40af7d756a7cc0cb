"""Engines on a real GPU."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("exit_graphs", ["fused", "separate"])
def test_every_engine_answers_as_onnx_runtime_did(board, target, precision, exit_graphs):
    command = [sys.executable, "-m", "tlee.engines.cli", board, "--target", target, "--precision", precision]
    result = subprocess.run(
        [*map(str, command), "--exit-graphs", exit_graphs, "--layers"], capture_output=True, text=True, timeout=900
    )
    print(result.stdout, result.stderr)
    if target == "rtx" and "does not take the engine" in result.stderr:
        pytest.skip(f"TensorRT-RTX refuses this GPU: {result.stderr.splitlines()[0]}")
    assert result.returncode == 0 and "not checked" not in result.stdout, result.stderr
