"""install/jetson.sh from beginning to end: a real virtual environment and a real pip on a board of files; sudo is a
stand-in, and TensorRT, OpenCV and NumPy are modules that know their version."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

NO_REGISTRY = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


@pytest.mark.full  # makes a virtual environment twice
def test_a_failed_command_is_named_and_the_next_run_starts_over(board):
    machine = board("orin6")
    failed = machine.run("--yes", "--no-jtop", **NO_REGISTRY)

    assert failed.returncode == 1
    assert machine.plain(failed.stderr.splitlines()[-1]) == (
        "jetson.sh: command 3 failed: ~/tlee-env/bin/python -m pip install -r CHECKOUT/install/tools.txt; "
        "the reason stands above; run it again: it starts over"
    )
    assert (machine.home / "tlee-env.unfinished").exists() and not (machine.home / "tlee-env/tlee-installed").exists()
    left = machine.home / "tlee-env/lib/left-over"
    left.write_text("")

    again = machine.run("--yes", "--no-jtop", **NO_REGISTRY)

    assert "-m venv --system-site-packages --clear " in again.stdout and not left.exists()


def test_interrupted_it_ends_with_130_and_leaves_word_of_it(board):
    machine = board("orin6")
    machine.packages("python3-pip")
    machine.stand_in("sudo", "#!/bin/bash\ntouch $STAND_INS_LOG\nexec sleep 600\n")
    script = subprocess.Popen(
        ["bash", str(machine.script), "--yes", "--no-jtop"],
        env=machine.env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not machine.log.exists():
        assert script.poll() is None
        time.sleep(0.1)
    os.killpg(script.pid, signal.SIGINT)  # as Ctrl-C does

    _, errors = script.communicate(timeout=300)

    assert script.returncode == 130
    assert errors.splitlines()[-1] == "jetson.sh: interrupted; run it again: it starts over"
    assert (machine.home / "tlee-env.unfinished").exists()


def python_for_tools() -> str | None:
    """A Python that install/tools.txt's setuptools still runs on: up to 3.11. cuda-bindings' wheels start with 3.9."""
    names = [sys.executable] if sys.version_info < (3, 12) else []
    names += filter(None, map(shutil.which, ["python3.10", "python3.11", "python3.9"]))
    return names[0] if names else None


@pytest.mark.full  # with the registry: about a minute
@pytest.mark.skipif(python_for_tools() is None, reason="needs a Python from 3.9 to 3.11")
def test_the_whole_of_it_and_once_more(board):
    machine = board("orin6", python=python_for_tools())
    libraries = {"PYTHONPATH": str(machine.root / "usr/lib/python3/dist-packages")}
    commands = machine.home / "tlee-env/bin"

    first = machine.run("--yes", **libraries)

    assert first.returncode == 0, first.stdout + first.stderr
    assert (machine.home / "tlee-env/tlee-installed").exists() and not (machine.home / "tlee-env.unfinished").exists()
    assert machine.calls() == [
        "sudo -H python3 -m pip install jetson-stats==4.3.2 distro==1.9.0 smbus2==0.4.3",
        "sudo systemctl restart jtop.service",
    ]
    assert first.stdout.index("\nDone. Next:\n") > first.stdout.index("[9/9]")
    listed = subprocess.run([commands / "pip", "list", "--local", "--format=freeze"], capture_output=True, text=True)
    names = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert {"tlee", "cuda-bindings"} <= names
    assert not names & {"numpy", "opencv-python", "opencv-python-headless", "tensorrt", "jetson-stats"}
    assert subprocess.run([commands / "tlee-run", "--help"], capture_output=True, env=machine.env()).returncode == 0

    other = subprocess.run([commands / "pip", "install", "opencv-python"], capture_output=True, text=True)
    assert other.returncode == 1 and "opencv-python<0" in other.stdout + other.stderr

    machine.stand_in("sudo", "#!/bin/bash\nexit 7\n")
    second = machine.run("--yes", **libraries)

    assert second.returncode == 1 and " -m venv " not in second.stdout
    assert second.stderr.endswith("; tlee itself is installed; run it again, or with --no-jtop\n")
    assert (machine.home / "tlee-env/tlee-installed").exists() and not (machine.home / "tlee-env.unfinished").exists()
