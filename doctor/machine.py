"""Reads a machine: its files, and through tlee.doctor.probe its Python libraries. Judges nothing."""

import getpass
import glob
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

import tlee
from tlee import board
from tlee.doctor import probe, probes
from tlee.power.jtop import SOCKET

# NVIDIA's Debian packages: of JetPack, TensorRT and its Python bindings, OpenCV.
PACKAGES = ("nvidia-jetpack", "libnvinfer8", "libnvinfer10", "python3-libnvinfer", "libopencv-python")
LIBRARIES = ("numpy", "cv2", "onnxruntime", "tensorrt", "cuda")
SYSTEM = "usr/lib/python3"  # where Debian packages put Python's modules, followed by a minor release in some
GPU_CLOCKS = "sys/class/devfreq/*.g[apv]*"  # Nano 57000000.gpu, Xavier 17000000.gv11b, Orin 17000000.gpu or .ga10b
UNIT = "etc/systemd/system/jtop.service"


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
    """This machine, or one whose files lie below `root`.

    Args:
        bundle: a bundle whose engines are to be looked at.
        environment: that Python's libraries are imported in; None for this process's.
    """
    values = dict(os.environ if environment is None else environment)
    model, release = board.processor(root), board.l4t(root)
    jetson = bool(release) or "Jetson" in model or "nvidia,tegra" in board.read("proc/device-tree/compatible", root)
    names = [[name] for name in LIBRARIES] + ([["jtop"]] if jetson else [])
    names += [["engines", os.path.abspath(bundle)]] if bundle else []
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
        cuda=_toolkit(root),
        compiler=_there(root, "usr/local/cuda/bin/nvcc"),
        driver=_found(r"Kernel Module.*? (\d+\.[\d.]+)", board.read("proc/driver/nvidia/version", root)),
        python=_python(),
        folder=folder,
        free=shutil.disk_usage(folder).free,
        cameras=["/" + os.path.relpath(path, root) for path in _glob(root, "dev/video*")],
        camera_service=_camera_service(root),
        docker=_there(root, "usr/bin/docker"),
        docker_runtime=_there(root, "usr/bin/nvidia-container-runtime"),
        docker_knows_runtime="nvidia" in _json("etc/docker/daemon.json", root, "runtimes"),
        tlee=tlee.__version__,
        scripts=scripts,
        commands={name: shutil.which(name, path=values.get("PATH", "")) for name in commands},
        libraries=probes.run_all(names, values),
        **_user(root),
        **_memory(root),
        **_power(root),
        **_jtop(root),
    )


def from_system(path: str) -> bool:
    """Whether a module's file is one of a Debian package, as JetPack's are, below any root."""
    return "/" + SYSTEM in path


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


def _toolkit(root: str) -> str:
    """Up to CUDA 10 "CUDA Version 10.2.300" in a text file, later JSON."""
    text = board.read("usr/local/cuda/version.txt", root).replace("CUDA Version", "").strip()
    return str(_json("usr/local/cuda/version.json", root, "cuda", "version")) or text


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


def _camera_service(root: str) -> str:
    if not _there(root, "usr/sbin/nvargus-daemon"):
        return ""
    return "running" if _there(root, "tmp/argus_socket") else "stopped"


def _jtop(root: str) -> Dict[str, Any]:
    start, release = _found(r"^ExecStart=/?(\S+)", board.read(UNIT, root)), ""
    if start:  # the package lies next to its command
        prefix = os.path.dirname(os.path.dirname(start))
        for path in _glob(root, os.path.join(prefix, "lib/python3*/*-packages/jetson_stats-*")):
            release = os.path.basename(path).split("-")[1].split(".dist")[0].split(".egg")[0]
    return {"jtop_installed": bool(start), "jtop_version": release, "jtop_running": _there(root, SOCKET)}
