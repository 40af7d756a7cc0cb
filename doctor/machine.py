"""Reads a machine: its files, and through tlee.doctor.probe what its Python libraries say. Judges nothing."""

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
    """venv: its folder, None for a system's Python; sees_system: Debian's modules can be imported."""

    version: str
    executable: str
    venv: Optional[str]
    sees_system: bool


class User(NamedTuple):
    """groups: of this process; enrolled: those that the system would give a new login."""

    id: int
    name: str
    groups: List[str]
    enrolled: List[str]


class Memory(NamedTuple):
    """Bytes; swap on disk, and zram, which is compressed memory itself."""

    total: int
    available: int
    swap: int
    zram: int


class Power(NamedTuple):
    """modes: names by nvpmodel's numbers; mode: the number now; locked: the GPU's clock is fixed."""

    modes: Dict[int, str]
    mode: Optional[int]
    locked: bool


class Jtop(NamedTuple):
    """version: of the jetson-stats that the service is started from, nothing where it is not known."""

    installed: bool
    version: str
    running: bool


class Docker(NamedTuple):
    """binary: NVIDIA's runtime is on the disk; registered: Docker knows it."""

    installed: bool
    binary: bool
    registered: bool


class Machine(NamedTuple):
    """What a machine is. See the types of its parts; of libraries see `tlee.doctor.probe`.

    Attributes:
        driver: release of NVIDIA's driver; on a Jetson it comes with L4T.
        compiler: nvcc is there.
        folder, free: where this was started, and bytes free there.
        camera_service: "running", "stopped", or nothing where NVIDIA's camera service is not installed.
        scripts: the folder of this Python's commands.
        commands: tlee's by name, with the path that a shell finds, None where it finds none.
    """

    name: str
    architecture: str
    jetson: bool
    container: bool
    l4t: str
    system: str
    packages: Dict[str, str]
    cuda: str
    compiler: bool
    driver: str
    python: Python
    user: User
    memory: Memory
    folder: str
    free: int
    power: Power
    cameras: List[str]
    camera_service: str
    jtop: Jtop
    docker: Docker
    tlee: str
    scripts: str
    commands: Dict[str, Optional[str]]
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
    named = re.search('^PRETTY_NAME="?([^"\n]+)', board.read("etc/os-release", root), re.MULTILINE)
    driver = re.search(r"Kernel Module.*? (\d+\.[\d.]+)", board.read("proc/driver/nvidia/version", root))
    folder, scripts = os.getcwd(), sysconfig.get_path("scripts")
    return Machine(
        name=model,
        architecture=platform.machine(),
        jetson=jetson,
        container=_there(root, ".dockerenv"),
        l4t=release,
        system=named.group(1) if named else "unknown system",
        packages=board.packages(PACKAGES, root),
        cuda=_toolkit(root),
        compiler=_there(root, "usr/local/cuda/bin/nvcc"),
        driver=driver.group(1) if driver else "",
        python=_python(),
        user=_user(root),
        memory=_memory(root),
        folder=folder,
        free=shutil.disk_usage(folder).free,
        power=_power(root),
        cameras=sorted("/" + os.path.relpath(path, root) for path in glob.glob(os.path.join(root, "dev/video*"))),
        camera_service=_camera_service(root),
        jtop=_jtop(root),
        docker=_docker(root),
        tlee=tlee.__version__,
        scripts=scripts,
        commands=_commands(scripts, values.get("PATH", "")),
        libraries=probes.run_all(names, values),
    )


def from_system(path: str) -> bool:
    """Whether a module's file is one of a Debian package, as JetPack's are, below any root."""
    return "/" + SYSTEM in path


def _there(root: str, path: str) -> bool:
    return os.path.lexists(os.path.join(root, path))


def _toolkit(root: str) -> str:
    """Up to CUDA 10 "CUDA Version 10.2.300" in a text file, later JSON."""
    text = board.read("usr/local/cuda/version.json", root)
    try:
        return str(json.loads(text)["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return board.read("usr/local/cuda/version.txt", root).replace("CUDA Version", "").strip()


def _python() -> Python:
    venv = sys.prefix if sys.prefix != sys.base_prefix else None
    sees = venv is None or "include-system-site-packages = true" in board.read("pyvenv.cfg", venv)
    return Python(platform.python_version(), sys.executable, venv, sees)


def _user(root: str) -> User:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        name = str(os.getuid())
    ids, groups, enrolled = {os.getgid(), *os.getgroups()}, [], []
    for line in board.read("etc/group", root).splitlines():
        group, _, number, members = (line.split(":") + [""] * 4)[:4]
        groups += [group] if number.isdigit() and int(number) in ids else []
        enrolled += [group] if name in members.split(",") else []
    return User(os.getuid(), name, groups, enrolled)


def _memory(root: str) -> Memory:
    kilobytes = dict(re.findall(r"^(\w+): +(\d+) kB", board.read("proc/meminfo", root), re.MULTILINE))
    total, available = (int(kilobytes.get(name, 0)) << 10 for name in ("MemTotal", "MemAvailable"))
    swaps = [line.split() for line in board.read("proc/swaps", root).splitlines()[1:]]
    sizes = [(swap[0].startswith("/dev/zram"), int(swap[2]) << 10) for swap in swaps if len(swap) > 2]
    disk, zram = (sum(size for compressed, size in sizes if compressed is kind) for kind in (False, True))
    return Memory(total, available, disk, zram)


def _power(root: str) -> Power:
    """nvpmodel itself asks for root on some releases; what it reads and writes does not."""
    text = board.read("etc/nvpmodel.conf", root)
    modes = re.findall(r"^< *POWER_MODEL +ID=(\d+) +NAME=(\S+)", text, re.MULTILINE)
    # "pmode:0002 fmode:quiet"; without it the board has started in its default.
    now = re.search(r"pmode:(\d+)", board.read("var/lib/nvpmodel/status", root))
    now = now or re.search(r"^< *PM_CONFIG +DEFAULT=(\d+)", text, re.MULTILINE)
    clocks = [[board.read(name, path) for name in ("min_freq", "max_freq")] for path in _glob(root, GPU_CLOCKS)]
    locked = any(least and least == most for least, most in clocks)
    return Power({int(number): name for number, name in modes}, int(now.group(1)) if now else None, locked)


def _camera_service(root: str) -> str:
    if not _there(root, "usr/sbin/nvargus-daemon"):
        return ""
    return "running" if _there(root, "tmp/argus_socket") else "stopped"


def _jtop(root: str) -> Jtop:
    start = re.search(r"^ExecStart=/?(\S+)", board.read(UNIT, root), re.MULTILINE)
    release = ""
    if start:  # the package lies beside its command
        prefix = os.path.dirname(os.path.dirname(start.group(1)))
        for path in _glob(root, os.path.join(prefix, "lib/python3*/*-packages/jetson_stats-*")):
            release = os.path.basename(path).split("-")[1].split(".dist")[0].split(".egg")[0]
    return Jtop(bool(start), release, _there(root, SOCKET))


def _docker(root: str) -> Docker:
    try:
        runtimes: Any = json.loads(board.read("etc/docker/daemon.json", root)).get("runtimes", {})
    except (ValueError, AttributeError):
        runtimes = {}
    installed, binary = (_there(root, path) for path in ("usr/bin/docker", "usr/bin/nvidia-container-runtime"))
    return Docker(installed, binary, "nvidia" in runtimes)


def _commands(folder: str, path: str) -> Dict[str, Optional[str]]:
    """Those that were installed beside this Python."""
    names = sorted(os.path.basename(found) for found in glob.glob(os.path.join(folder, "tlee-*")))
    return {name: shutil.which(name, path=path) for name in names}


def _glob(root: str, pattern: str) -> List[str]:
    return sorted(glob.glob(os.path.join(root, pattern)))
