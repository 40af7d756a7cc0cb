"""Reads a machine: its files, and through tlee.doctor.probe its Python libraries. Judges nothing."""

import contextlib
import getpass
import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

import tlee
from tlee import board
from tlee.doctor import probe
from tlee.errors import UsageError
from tlee.power.jtop import SOCKET

# NVIDIA's Debian packages: of JetPack, TensorRT and its Python bindings, OpenCV.
PACKAGES = ("nvidia-jetpack", "libnvinfer8", "libnvinfer10", "python3-libnvinfer", "libopencv-python")
LIBRARIES = ("numpy", "cv2", "video", "onnxruntime", "tensorrt", "cuda")
GPU_CLOCKS = "sys/class/devfreq/*.g[apv]*"  # Nano 57000000.gpu, Xavier 17000000.gv11b, Orin 17000000.gpu or .ga10b
ROOM = 4096  # bytes of what a library says
PATIENCE = 60.0  # seconds: from a cold SD card TensorRT takes ten and more


class Python(NamedTuple):
    version: str
    executable: str
    venv: Optional[str]  # its folder, None for a system's Python
    sees_system: bool  # Debian's modules can be imported


class Machine(NamedTuple):
    """What a machine has; memory in bytes, releases as text that is empty where they are not known."""

    name: str
    architecture: str
    jetson: bool
    container: bool
    l4t: str
    system: str
    packages: Dict[str, str]  # releases by name
    cuda: str  # release of the toolkit
    compiler: bool  # nvcc is there
    driver: str  # release of NVIDIA's; on a Jetson it comes with L4T
    python: Python
    user_id: int
    user: str
    groups: List[str]  # of this process
    login_groups: List[str]  # that a new login would be in
    memory: int
    available: int
    swap: int  # on disk
    zram: int  # swap in compressed memory
    folder: str  # where this was started
    free: int  # on its disk
    power_modes: Dict[int, str]  # names by nvpmodel's numbers
    power_mode: Optional[int]
    clocks_locked: bool  # the GPU's
    cameras: List[str]
    camera_service: str  # NVIDIA's: "running", "stopped", or empty where it is not installed
    jtop_installed: bool  # its service
    jtop_version: str  # of the jetson-stats that the service is started from
    jtop_running: bool
    docker: bool
    docker_runtime: bool  # NVIDIA's is on the disk
    docker_knows_runtime: bool
    tlee: str
    scripts: str  # the folder of this Python's commands
    commands: Dict[str, Optional[str]]  # tlee's there, with the path that a shell finds
    libraries: Dict[str, probe.Found]


def read(root: str = "/", bundle: Optional[str] = None, environment: Optional[Mapping[str, str]] = None) -> Machine:
    """This machine, or one whose files lie below `root`; with the engines of a bundle. `environment` is that in which
    libraries are imported; None for this process's."""
    values = dict(os.environ if environment is None else environment)
    model, release = board.processor(root), board.l4t(root)
    jetson = bool(release) or "Jetson" in model or "nvidia,tegra" in board.read("proc/device-tree/compatible", root)
    names = [[name] for name in LIBRARIES] + ([["jtop"]] if jetson else [])
    names += [["engines", os.path.abspath(bundle)]] if bundle else []
    toolkit = _found(r"CUDA Version\s*(.*\S)", board.read("usr/local/cuda/version.txt", root))  # up to CUDA 10
    argus = "running" if _there(root, "tmp/argus_socket") else "stopped"
    folder, scripts = os.getcwd(), sysconfig.get_path("scripts")
    commands = sorted(os.path.basename(path) for path in glob.glob(os.path.join(scripts, "tlee-*")))
    return Machine(
        name=model,
        architecture=platform.machine(),
        jetson=jetson,
        container=_there(root, ".dockerenv"),
        l4t=release,
        system=_found('^PRETTY_NAME="?([^"\n]+)', board.read("etc/os-release", root)) or "unknown system",
        packages=board.packages(PACKAGES, root),
        cuda=str(_json("usr/local/cuda/version.json", root, "cuda", "version")) or toolkit,
        compiler=_there(root, "usr/local/cuda/bin/nvcc"),
        driver=_found(r"Kernel Module.*? (\d+\.[\d.]+)", board.read("proc/driver/nvidia/version", root)),
        python=_python(),
        folder=folder,
        free=shutil.disk_usage(folder).free,
        cameras=["/" + os.path.relpath(path, root) for path in _glob(root, "dev/video*")],
        camera_service=argus if _there(root, "usr/sbin/nvargus-daemon") else "",
        docker=_there(root, "usr/bin/docker"),
        docker_runtime=_there(root, "usr/bin/nvidia-container-runtime"),
        docker_knows_runtime="nvidia" in _json("etc/docker/daemon.json", root, "runtimes"),
        tlee=tlee.__version__,
        scripts=scripts,
        commands={name: shutil.which(name, path=values.get("PATH", "")) for name in commands},
        libraries=run_all(names, values),
        **_user(root),
        **_memory(root),
        **_power(root),
        **_jtop(root),
    )


def run_all(
    names: List[List[str]], environment: Mapping[str, str], patience: float = PATIENCE
) -> Dict[str, probe.Found]:
    """Run `tlee.doctor.probe` for several libraries concurrently, each name with its arguments. Raises OSError or
    UsageError where there is no room for temporary files."""
    # In the root folder, with this process's own path: nothing in the folder where a user happens to be is imported.
    paths = [environment["PYTHONPATH"]] if environment.get("PYTHONPATH") else []
    paths += [os.path.abspath(path) for path in sys.path]
    values = dict(environment, PYTHONPATH=os.pathsep.join(paths), PYTHONIOENCODING="utf-8")
    values["ORT_DISABLE_TELEMETRY"] = "1"  # see tlee.runtime.onnx_session.import_onnxruntime
    end, found = time.monotonic() + patience, {}
    with contextlib.ExitStack() as opened:
        started = []
        for name in names:
            said = opened.enter_context(tempfile.TemporaryFile())
            said.write(b" " * ROOM)  # a full disk is an error here, and not a library that says nothing
            said.seek(0)
            command = [sys.executable, "-m", "tlee.doctor.probe"] + name
            process = subprocess.Popen(command, stdout=said, stderr=said, env=values, cwd="/")
            opened.callback(process.wait)
            opened.callback(process.kill)  # no signal is sent to one that has ended
            started.append((name[0], said, process))
        for library, said, process in started:
            try:
                process.wait(max(0.0, end - time.monotonic()))
                said.seek(0)
                found[library] = _result(process.returncode, said.read().decode("utf-8", "replace"))
            except subprocess.TimeoutExpired:
                found[library] = {"problem": f"its import does not end within {patience:g} s"}
    return found


def _result(status: int, said: str) -> probe.Found:
    if status < 0:
        return {"problem": f"its import crashes (signal {-status})", "signal": -status}
    last = ([line for line in said.splitlines() if line.strip()] or ["it said nothing"])[-1]
    if status != 0:
        return {"problem": "its import failed: " + last[:200]}
    try:
        found: probe.Found = json.loads(last)
        return found
    except ValueError:  # a part of it
        raise UsageError(tempfile.gettempdir(), "no room for what is found", "make room") from None


def _there(root: str, path: str) -> bool:
    return os.path.lexists(os.path.join(root, path))


def _glob(root: str, pattern: str) -> List[str]:
    return sorted(glob.glob(os.path.join(root, pattern)))


def _found(pattern: str, text: str) -> str:
    """The first group of the pattern's first match; nothing where there is none."""
    match = re.search(pattern, text, re.MULTILINE)
    return match.group(1) if match else ""


def _json(path: str, root: str, *keys: str) -> Any:
    """A value in a file of JSON, by its keys; nothing where there is none."""
    try:
        value = json.loads(board.read(path, root))
        for key in keys:
            value = value[key]
        return value or ""
    except (ValueError, KeyError, TypeError):
        return ""


def _python() -> Python:
    venv = sys.prefix if sys.prefix != sys.base_prefix else None
    sees = venv is None or "include-system-site-packages = true" in board.read("pyvenv.cfg", venv)
    return Python(platform.python_version(), sys.executable, venv, sees)


def _user(root: str) -> Dict[str, Any]:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        name = str(os.getuid())
    ids, groups, login_groups = {os.getgid(), *os.getgroups()}, [], []
    for line in board.read("etc/group", root).splitlines():
        group, _, number, members = (line.split(":") + [""] * 4)[:4]
        groups += [group] if number.isdigit() and int(number) in ids else []
        login_groups += [group] if name in members.split(",") else []
    return {"user_id": os.getuid(), "user": name, "groups": groups, "login_groups": login_groups}


def _memory(root: str) -> Dict[str, Any]:
    kilobytes = dict(re.findall(r"^(\w+): +(\d+) kB", board.read("proc/meminfo", root), re.MULTILINE))
    total, available = (int(kilobytes.get(name, 0)) << 10 for name in ("MemTotal", "MemAvailable"))
    swaps = [line.split() for line in board.read("proc/swaps", root).splitlines()[1:]]
    sizes = [(swap[0].startswith("/dev/zram"), int(swap[2]) << 10) for swap in swaps if len(swap) > 2]
    disk, zram = (sum(size for compressed, size in sizes if compressed is kind) for kind in (False, True))
    return {"memory": total, "available": available, "swap": disk, "zram": zram}


def _power(root: str) -> Dict[str, Any]:
    """nvpmodel itself asks for root on some releases; what it reads and writes does not."""
    text = board.read("etc/nvpmodel.conf", root)
    modes = re.findall(r"^< *POWER_MODEL +ID=(\d+) +NAME=(\S+)", text, re.MULTILINE)
    # "pmode:0002 fmode:quiet"; without it the board has started in its default.
    now = _found(r"pmode:(\d+)", board.read("var/lib/nvpmodel/status", root))
    now = now or _found(r"^< *PM_CONFIG +DEFAULT=(\d+)", text)
    clocks = [[board.read(name, path) for name in ("min_freq", "max_freq")] for path in _glob(root, GPU_CLOCKS)]
    return {
        "power_modes": {int(number): name for number, name in modes},
        "power_mode": int(now) if now else None,
        "clocks_locked": any(least and least == most for least, most in clocks),
    }


def _jtop(root: str) -> Dict[str, Any]:
    start, release = _found(r"^ExecStart=/?(\S+)", board.read("etc/systemd/system/jtop.service", root)), ""
    if start:  # the package lies next to its command
        prefix = os.path.dirname(os.path.dirname(start))
        for path in _glob(root, os.path.join(prefix, "lib/python3*/*-packages/jetson_stats-*")):
            release = os.path.basename(path).split("-")[1].split(".dist")[0].split(".egg")[0]
    return {"jtop_installed": bool(start), "jtop_version": release, "jtop_running": _there(root, SOCKET)}
