"""The GPU that the tests here run on: with TensorRT where it is installed, else with TensorRT-RTX."""

from __future__ import annotations

import pytest

from tlee.engines.cuda import opened_cuda
from tlee.engines.releases import load
from tlee.errors import UsageError


@pytest.fixture(scope="session")
def target() -> str:
    try:
        with opened_cuda() as cuda:
            gpu = cuda.gpu()
    except UsageError as error:
        pytest.skip(str(error))
    for name in ("tensorrt", "rtx"):
        try:
            print(load(name).name, "on", gpu.name)
            return name
        except UsageError as error:
            reason = str(error)
    pytest.skip(reason)
