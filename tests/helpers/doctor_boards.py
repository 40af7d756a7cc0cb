"""Machines as trees of files, and their Python libraries as stand-ins that are really imported."""

from __future__ import annotations

import os
import sysconfig
from functools import partial
from pathlib import Path
from unittest.mock import patch

from doubles.environment import HERE, environment

from tlee.doctor import machine
from tlee.doctor.cli import findings
from tlee.doctor.finding import OK, Finding
from tlee.doctor.machine import Machine, Python, read, run_all

# As OpenCV prints it: of JetPack's, and of pip's.
BUILT = "General configuration for OpenCV {}\n\n  Video I/O:\n    FFMPEG:                      YES\n"
BUILT += "    GStreamer:                   {}\n    v4l/v4l2:                    YES (linux/videodev2.h)\n"
CV2 = "__version__ = {!r}\ndef getBuildInformation():\n    return {!r}\n"
ORT = "__version__ = '1.10.0'\ndef get_available_providers():\n    return {!r}\n"
# As PyGObject gives GStreamer, with these elements.
GI = """
import sys, types
def require_version(name, version): pass
Gst = types.SimpleNamespace(init=lambda _: None, version=lambda: (1, 14, 5, 0))
Gst.ElementFactory = types.SimpleNamespace(find={!r}.count)
repository = sys.modules["gi.repository"] = types.SimpleNamespace(Gst=Gst, GstBase=None, GstVideo=None)
"""
HIDDEN = "raise ModuleNotFoundError(\"No module named '{0}'\", name='{0}')\n"
# The NumPy that is installed, under another release: what the doubles of NVIDIA's libraries compute with works.
NUMPY = """
import importlib, os, sys
sys.path.remove(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
del sys.modules["numpy"]
importlib.import_module("numpy").__version__ = {!r}
"""
# What a probe imports, where that is more than the module of its name.
IMPORTS = {"tensorrt": ("tensorrt", "numpy"), "cuda": ("pycuda", "cuda", "numpy"), "video": ("av", "gi")}
ANSWERS: dict[tuple, dict] = {}  # of probes that ran, by all that a test may have changed of what they find
SYSTEM, PIP = "usr/lib/python3/dist-packages", "home/me/tlee-env/lib/python3/site-packages"


class Tree:
    """A machine that only exists as files, in the healthy state that the fixtures make."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        # tlee's own commands are found, whether or not the tests' virtual environment is active.
        self.environment = {"PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])}
        self.python = Python(python, "/home/me/tlee-env/bin/python", "/home/me/tlee-env", True)
        self.changes: dict = {"free": 20 << 30, "container": False}
        self.doubles: list[str] = []
        self.packages: dict[str, str] = {}
        self.write("etc/group", "root:x:0:\nvideo:x:44:me\njtop:x:999:me\nme:x:1000:\n")

    def write(self, path: str, text: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def remove(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).unlink()

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def module(self, name: str, source: str, place: str = SYSTEM) -> None:
        """A library of Python; where it is a name of a double so far, instead of that."""
        path = self.root / place / name
        if path.is_symlink():
            path.unlink()
        self.write(f"{place}/{name}/__init__.py", source)

    def hide(self, *names: str) -> None:
        for name in names:
            self.module(name, HIDDEN.format(name))

    def numpy(self, version: str, place: str = SYSTEM) -> None:
        self.module("numpy", NUMPY.format(version), place)

    def opencv(self, version: str, gstreamer: str, place: str = SYSTEM) -> None:
        self.module("cv2", CV2.format(version, BUILT.format(version, gstreamer)), place)

    def gstreamer(self, *elements: str) -> None:
        """What reads video where there is no PyAV."""
        self.hide("av")
        self.module("gi", GI.format(elements))

    def nvidia(self, release: str | None, device: str, cuda: str | None) -> None:
        """TensorRT and what reaches CUDA from Python, see `doubles.environment`."""
        double = environment(release, device, cuda)
        self.environment.update({name: double[name] for name in double if name.startswith("TLEE_")})
        self.doubles = double["PYTHONPATH"].split(os.pathsep)
        place = self.root / SYSTEM
        place.mkdir(parents=True, exist_ok=True)
        if release:  # where JetPack's lies
            (place / "tensorrt").symlink_to(HERE / f"tensorrt_{release.replace('.', '_')}" / "tensorrt")

    def machine(self, bundle: Path | None = None, anew: bool = False) -> Machine:
        """Read as tlee-doctor reads it, with `anew` altogether; otherwise a probe that has run already, and would find
        the very same, is not run once more."""
        status = "Package: {}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {}\n"
        self.write("var/lib/dpkg/status", "\n".join(status.format(*item) for item in self.packages.items()))
        folders = [str(self.root / PIP), str(self.root / SYSTEM), *self.doubles]
        values = {**self.environment, "PYTHONPATH": os.pathsep.join(folders)}
        with patch.object(machine, "run_all", partial(self._probed, anew)):
            found = read(str(self.root), bundle and str(bundle), values)
        return found._replace(python=self.python, **self.changes)

    def _probed(self, anew: bool, names: list[list[str]], values: dict[str, str]) -> dict[str, dict]:
        seen = {name: self._seen(name) for name, *_ in names}
        new = [item for item in names if anew or item[0] == "engines" or seen[item[0]] not in ANSWERS]
        ran = run_all(new, values) if new else {}
        ANSWERS.update({seen[name]: found for name, found in ran.items()})
        return {name: dict(ANSWERS[key]) for name, key in seen.items()}

    def _seen(self, name: str) -> tuple:
        """What the answer of a probe depends on: the modules that it imports, and for NVIDIA's what they stand on."""
        modules = [
            (place, module, self._source(self.root / place / module))
            for place in (PIP, SYSTEM)
            for module in IMPORTS.get(name, (name,))
        ]
        doubles = (self.doubles, sorted(self.environment.items())) if name in IMPORTS else ()
        return (name, repr(modules), repr(doubles))

    @staticmethod
    def _source(path: Path) -> str | list[tuple[str, str]]:
        if path.is_symlink():
            return str(path.readlink())
        return [(str(file.relative_to(path)), file.read_text()) for file in sorted(path.rglob("*.py"))]

    def found(self, anew: bool = False) -> dict[str, Finding]:
        """What is not ok, by subject, of which there is never more than one."""
        bad = [finding for finding in findings(self.machine(anew=anew)) if finding.severity != OK]
        assert len({finding.subject for finding in bad}) == len(bad)
        return {finding.subject: finding for finding in bad}


def jetson(root: Path, python: str, l4t: tuple[str, str], model: str, os_release: str) -> Tree:
    tree = Tree(root, python)
    # The first line as it was on boards; the rest of the file is hashes of kernel modules, or on R36 comments.
    line = "# R{} (release), REVISION: {}, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: Sat Feb 19 17:05:08 UTC"
    tree.write("etc/nv_tegra_release", line.format(*l4t) + " 2022\n")
    tree.write("proc/device-tree/model", model + "\0")
    tree.write("etc/os-release", f'NAME="Ubuntu"\nPRETTY_NAME="{os_release}"\n')
    tree.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n")
    tree.write("usr/local/cuda/bin/nvcc")
    tree.write("usr/sbin/nvargus-daemon")
    tree.write("tmp/argus_socket")
    tree.write("dev/video0")
    tree.write("run/jtop.sock")
    tree.write("etc/systemd/system/jtop.service", "[Service]\nExecStart=/usr/local/bin/jtop --force\n")
    tree.write("usr/local/lib/python3.6/dist-packages/jetson_stats-4.3.2.dist-info/METADATA")
    tree.module("jtop", "__version__ = '4.3.2'\n")
    tree.write("usr/bin/docker")
    tree.write("usr/bin/nvidia-container-runtime")
    runtime = '"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}'
    tree.write("etc/docker/daemon.json", '{"runtimes": {' + runtime + "}}")
    tree.hide("onnxruntime")
    return tree


def nano(root: Path) -> Tree:
    """Jetson Nano 4 GB, JetPack 4.6.1, with swap on its card."""
    tree = jetson(root, "3.6.9", ("32", "7.1"), "NVIDIA Jetson Nano Developer Kit", "Ubuntu 18.04.6 LTS")
    tree.packages = {
        "nvidia-l4t-core": "32.7.1-20220219090432",
        "nvidia-jetpack": "4.6.1-b110",
        "libnvinfer8": "8.2.1-1+cuda10.2",
        "python3-libnvinfer": "8.2.1-1+cuda10.2",
        "libopencv-python": "4.1.1-2-gd5a58aa75",
    }
    tree.write("usr/local/cuda/version.txt", "CUDA Version 10.2.300\n")
    tree.write(
        "proc/meminfo", "MemTotal:        4059292 kB\nMemFree:          300000 kB\nMemAvailable:    2871340 kB\n"
    )
    swaps = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
    tree.write("proc/swaps", swaps + "/mnt/4GB.swap                           file\t\t4194300\t0\t-1\n")
    modes = (
        "# MAXN is the NONE power model to release all constraints\n< POWER_MODEL ID=0 NAME=MAXN >\nEMC MAX_FREQ 0\n\n"
    )
    modes += "< POWER_MODEL ID=1 NAME=5W >\nCPU_ONLINE CORE_2 0\n\n< PM_CONFIG DEFAULT=0 >\n"
    tree.write("etc/nvpmodel.conf", modes)
    tree.write("var/lib/nvpmodel/status", "pmode:0000\n")
    for name, value in (("min", 76800000), ("max", 921600000)):
        tree.write(f"sys/class/devfreq/57000000.gpu/{name}_freq", f"{value}\n")
    tree.numpy("1.13.3")
    tree.opencv("4.1.1", "YES (1.14.5)")
    tree.gstreamer("qtdemux", "avdec_h264", "nvv4l2decoder")
    tree.nvidia("8.2", "nano", "pycuda")
    return tree


def orin(root: Path, python: str, l4t: tuple[str, str], os_release: str) -> Tree:
    model = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    tree = jetson(root, python, l4t, model, os_release)
    tree.write("proc/meminfo", "MemTotal:        7802888 kB\nMemAvailable:    5512340 kB\n")
    tree.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/zram0 partition\t650236\t0\t5\n")
    modes = ["15W", "25W", "MAXN_SUPER", "7W"]
    lines = [f"< POWER_MODEL ID={number} NAME={name} >\n" for number, name in enumerate(modes)]
    tree.write("etc/nvpmodel.conf", "".join(lines) + "< PM_CONFIG DEFAULT=1 >\n")
    tree.write("var/lib/nvpmodel/status", "pmode:0002 fmode:quiet\n")
    for name in ("min", "max"):
        tree.write(f"sys/class/devfreq/17000000.ga10b/{name}_freq", "1020000000\n")
    return tree


def orin5(root: Path) -> Tree:
    """Orin Nano, JetPack 5.1.2; its metapackage is not installed."""
    tree = orin(root, "3.8.10", ("35", "4.1"), "Ubuntu 20.04.6 LTS")
    tree.packages = {"libnvinfer8": "8.5.2-1+cuda11.4", "python3-libnvinfer": "8.5.2-1+cuda11.4"}
    tree.packages["libopencv-python"] = "4.5.4-8-g3e4c170df4"
    tree.write("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "11.4.19"}}')
    tree.numpy("1.17.4")
    tree.opencv("4.5.4", "YES (1.16.3)")
    tree.nvidia("8.6", "orin", "pycuda")  # the double nearest to 8.5
    (tree.root / SYSTEM / "tensorrt").unlink()
    source = f"exec(open({str(HERE / 'tensorrt_8_6/tensorrt/__init__.py')!r}).read())\n__version__ = '8.5.2.2'\n"
    tree.module("tensorrt", source)
    return tree


def orin6(root: Path) -> Tree:
    """Orin Nano, JetPack 6.2."""
    tree = orin(root, "3.10.12", ("36", "4.3"), "Ubuntu 22.04.5 LTS")
    tree.packages = {
        "nvidia-jetpack": "6.2+b77",
        "libnvinfer10": "10.3.0.30-1+cuda12.5",
        "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
        "libopencv-python": "4.8.0-1-g6371ee1",
    }
    tree.write("usr/local/cuda/version.json", '{"cuda": {"name": "CUDA SDK", "version": "12.6.20241114"}}')
    tree.numpy("1.21.5")
    tree.opencv("4.8.0", "YES (1.20.3)")
    tree.nvidia("10", "orin", "cuda_python")
    return tree


def pc(root: Path) -> Tree:
    """A PC without a GPU."""
    tree = Tree(root, "3.11.2")
    tree.write("proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz\n")
    tree.write("etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    tree.write("proc/meminfo", "MemTotal:       16102888 kB\nMemAvailable:    9512340 kB\n")
    tree.numpy("2.4.6")
    tree.opencv("5.0.0", "NO")
    tree.module("onnxruntime", ORT.format(["AzureExecutionProvider", "CPUExecutionProvider"]))
    tree.nvidia(None, "none", None)
    return tree
