"""A checkout is a package: Python started in it finds every part, installed or not."""

import subprocess
import sys

from conftest import ROOT


def test_subpackages_are_found_in_a_checkout_without_installation():
    # -S leaves site-packages out, and with them whatever is installed.
    code = "import tlee, tlee.engines, tlee.calibration; print(tlee.engines.__file__)"
    run = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.strip() == str(ROOT / "engines" / "__init__.py"), run.stderr
