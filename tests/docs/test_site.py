"""`make docs` builds: every link, heading and module that the pages name is there."""

import re
import subprocess
import sys

from conftest import ROOT

import tlee.runtime


def test_the_site_builds_and_shows_what_the_runtime_exports():
    installed = f"{sys.prefix}/installed"  # never installs anything from within a test
    built = subprocess.run(
        ["make", "--old-file", installed, "docs", f"VENV={sys.prefix}"], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    page = (ROOT / "build/site/docs/reference/runtime.html").read_text(encoding="utf-8")
    for name in tlee.runtime.__all__:
        assert re.search(rf'id="tlee\.runtime\.\w+\.{name}"', page), name
