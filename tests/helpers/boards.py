"""Boards that tests build engines for: as their plans see them, and as doubles that tlee-build runs on."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from doubles.environment import environment

from tlee.engines.planning import Machine
from tlee.engines.store import EngineStore

NANO = Machine(
    tensorrt="TensorRT 8.2.1",
    gpu="NVIDIA Tegra X1",
    capability="5.3",
    fast={"fp16": True, "int8": False},
    dla_cores=0,
    typed=False,
    calibrates=True,
    portable=False,
    integrated=True,
    free=2 << 30,
    notes=[],
)
ORIN = NANO._replace(
    tensorrt="TensorRT 10.3.0", gpu="Orin", capability="8.7", fast={"fp16": True, "int8": True}, dla_cores=2
)
RTX = ORIN._replace(
    tensorrt="TensorRT-RTX 1.7.1", gpu=None, capability=None, dla_cores=0, typed=True, calibrates=False, portable=True
)


ENGINES = ["split0", "split1", "exit0", "exit1"]
NANO_KEY = "tensorrt-8.2.1.8-nvidia-tegra-x1-5.3"
PATIENCE = 300  # seconds, for what comes on any machine, however busy
COMMAND = [sys.executable, "-m", "tlee.engines.cli"]
# The same, but that engines are built and checked in the same process: each of their own takes a while to start.
IN_ONE = """
from tlee.engines import cli, process, worker
process.run = lambda action, folder, request, *_: worker.ACTIONS[action](folder, request)
cli.main()
"""


def tlee_build(
    *arguments: object,
    release: str | None = "8.2",
    device: str = "nano",
    apart: bool = False,
    preexec_fn: Callable[[], object] | None = None,
    **double: object,
) -> subprocess.CompletedProcess:
    """The command in a process of its own, on a double of a board (see `doubles.environment`).

    Args:
        apart: each engine is built and checked in a further process, as the command does it.
    """
    start = COMMAND if apart else [sys.executable, "-c", IN_ONE]
    command, env = [*start, *map(str, arguments)], environment(release, device, **double)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, preexec_fn=preexec_fn)


def record(bundle: Path) -> dict:
    """What is recorded of the engines, by name of the graph."""
    (file,) = (bundle / "engines").glob("*/engines.json")
    return {entry["identity"]["graph"]: entry for entry in json.loads(file.read_text())["engines"].values()}


def table(result) -> dict[str, list[str]]:
    """The cells that are printed of each engine."""
    lines = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if cells[0] in ENGINES}


def without(bundle, *graphs):
    """Remove finished engines, so that they must be built again."""
    store = EngineStore(str(bundle / "engines" / NANO_KEY))
    for file in [file for file in store.entries if file.split(".")[0] in graphs]:
        store.remove(file)
    return bundle


@contextlib.contextmanager
def hanging(bundle):
    """tlee-build in the middle of the last missing engine."""
    inside = bundle.parent / "inside"
    env = {**environment("8.2", fault="hang:x1"), "TLEE_DOUBLE_HANGS": str(inside)}
    process = subprocess.Popen([*COMMAND, str(bundle)], env=env, stderr=subprocess.PIPE, text=True)
    try:
        until(inside.exists, process)
        assert "split0" in record(bundle)
        yield process, workers(process.pid)
    finally:
        process.kill()
        process.wait()


def until(condition, process):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


def workers(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children") as stream:
        return [int(pid) for pid in stream.read().split()]
