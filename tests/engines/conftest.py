"""What the tests of engines share: a bundle whose engines are built."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from boards import tlee_build


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
