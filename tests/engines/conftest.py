"""What the tests of engines share: a bundle whose engines are built, and the doubles in this process."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path

import pytest
from boards import tlee_build
from doubles.driving import DOUBLED
from doubles.environment import environment


@pytest.fixture(scope="session")
def built(exported, tmp_path_factory) -> Path:
    """The same bundle with its fp16 engines for a Nano. Tests that alter one copy it first."""
    bundle = Path(shutil.copytree(exported, tmp_path_factory.mktemp("nano") / "small.tlee"))
    assert tlee_build(bundle).returncode == 0
    return bundle


@pytest.fixture
def nano(built, tmp_path) -> Path:
    """A copy of the bundle, with its fp16 engines for a Nano."""
    return Path(shutil.copytree(built, tmp_path / "small.tlee"))


@pytest.fixture
def load(monkeypatch):
    """A release's double and the driver's, in this process: their names are theirs until the test ends."""

    def loader(release: str | None, device: str = "desktop", cuda: str = "pycuda", fault: str | None = None, **changes):
        values = environment(release, device, cuda, fault, **changes)
        forget()
        for name in ("TLEE_DOUBLE_DEVICE", "TLEE_DOUBLE_FAULT"):
            monkeypatch.setenv(name, values.get(name, ""))
        monkeypatch.setattr(sys, "path", values["PYTHONPATH"].split(os.pathsep) + sys.path)
        driver = importlib.import_module("pycuda.driver" if cuda == "pycuda" else "cuda.bindings.driver")
        return importlib.import_module("tensorrt") if release else None, driver

    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in DOUBLED}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in DOUBLED]:
            del sys.modules[name]

    yield loader
    forget()
    sys.modules.update(kept)
