"""The Dockerfiles' build steps, executed by a real builder on stand-ins for their bases, as by `make test-docker`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = ("debootstrap", "buildah", "podman")


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, TOOLS)), reason="needs root and " + ", ".join(TOOLS))
@pytest.mark.parametrize("image", ["cpu", "jetpack4", "jetpack5", "jetpack6"])
def test_an_image_is_built_and_used(image):
    command = [str(Path(__file__).with_name("build.sh")), image]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
