"""Boards of files: what install/jetson.sh reads of one, its Python and libraries; stand-ins for sudo and the like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "install" / "jetson.sh"

NANO_MODES = """< PARAM TYPE=FILE NAME=CPU_ONLINE >
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=5W >
< PM_CONFIG DEFAULT=0 >
"""
ORIN_MODES = """< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
BOARDS: dict[str, dict] = {
    "nano": {
        "release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref",
        "model": "NVIDIA Jetson Nano Developer Kit",
        "python": "3.6.9",
        "numpy": "1.13.3",
        "cv2": "4.1.1",
        "tensorrt": "8.2.1.8",
        "memory": (3956, 2900),
        "modes": NANO_MODES,
        "mode": 0,
    },
    "orin5": {
        "release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref",
        "model": "NVIDIA Orin Nano Developer Kit",
        "python": "3.8.10",
        "numpy": "1.17.4",
        "cv2": "4.5.4",
        "tensorrt": "8.5.2.2",
        "memory": (6481, 5100),
        "modes": ORIN_MODES,
        "mode": 2,
    },
    "orin6": {
        "release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
        "model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "python": "3.10.12",
        "numpy": "1.21.5",
        "cv2": "4.8.0",
        "tensorrt": "10.3.0",
        "memory": (7620, 6300),
        "modes": ORIN_MODES,
        "mode": 1,
    },
}
GSTREAMER = (  # reads video where there is no PyAV
    *("python3-gi", "gir1.2-gst-plugins-base-1.0", "gstreamer1.0-plugins-base", "gstreamer1.0-plugins-good"),
    *("gstreamer1.0-plugins-bad", "gstreamer1.0-libav"),
)
STAND_IN = """#!/bin/bash
echo "${0##*/} $*" >> "$STAND_INS_LOG"
"""
ZRAM = "/dev/zram0                              partition\t506448\t0\t5\n" * 4


class Board(NamedTuple):
    """A faked machine, and a home folder to install into."""

    root: Path
    home: Path
    log: Path

    def run(self, *arguments: str, answer: str = "", **env: str) -> subprocess.CompletedProcess:
        """install/jetson.sh on this board."""
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments],
            env={**self.env(), **env},
            input=answer,
            capture_output=True,
            text=True,
            timeout=600,
        )

    @property
    def script(self) -> Path:
        return SCRIPT

    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("SUDO_USER", "VIRTUAL_ENV")}
        return {
            **kept,
            "TLEE_INSTALL_ROOT": str(self.root),
            "HOME": str(self.home),
            "PATH": f"{self.root}/stand-ins:{os.environ['PATH']}",
            "STAND_INS_LOG": str(self.log),
        }

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def stand_in(self, name: str, text: str = STAND_IN) -> None:
        self.write(f"stand-ins/{name}", text).chmod(0o755)

    def library(self, name: str, text: str) -> None:
        self.write(f"usr/lib/python3/dist-packages/{name}.py", text)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()

    def packages(self, *names: str) -> None:
        entries = [f"Package: {name}\nStatus: install ok installed\nPriority: optional\n" for name in names]
        self.write("var/lib/dpkg/status", "\n".join(entries))

    def plain(self, text: str) -> str:
        """Without the names of this test's folders."""
        folders = {self.root: "", self.home: "~", ROOT: "CHECKOUT"}
        for folder, name in folders.items():
            text = text.replace(str(folder), name)
        return text

    @staticmethod
    def opencv(version: str, gstreamer: str = "YES (1.14.5)") -> str:
        """A module with the line on GStreamer of OpenCV's build information."""
        information = f"  Video I/O:\\n    DC1394: NO\\n    GStreamer:                   {gstreamer}\\n"
        return f"__version__ = {version!r}\n\n\ndef getBuildInformation():\n    return '{information}'\n"

    @staticmethod
    def jetpacks_python(version: str) -> str:
        """What makes the stand-in of /usr/bin/python3, and no other Python, say that it is of this version."""
        numbers = tuple(int(part) for part in version.split("."))
        return f"import os, sys\nif 'JETPACKS_PYTHON' in os.environ:\n    sys.version_info = {numbers!r}\n"

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def healthy_board(folder: Path, name: str, python: str = sys.executable) -> Board:
    """A board in `BOARDS` as files below a folder, on which `python` is Python; nothing is wrong with it."""
    facts = BOARDS[name]
    made = Board(folder / "root", folder / "home", folder / "calls")
    made.home.mkdir(parents=True)
    made.write("etc/nv_tegra_release", facts["release"] + ", EABI: aarch64, DATE: Sat Feb 19 17:05:08 UTC 2022\n")
    made.write("proc/device-tree/model", facts["model"] + "\0")
    total, available = (1024 * value for value in facts["memory"])
    made.write("proc/meminfo", f"MemTotal:       {total} kB\nMemFree:  1 kB\nMemAvailable:   {available} kB\n")
    made.write("proc/swaps", "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n" + ZRAM)
    made.write("etc/nvpmodel.conf", facts["modes"])
    made.write("var/lib/nvpmodel/status", f"pmode:{facts['mode']:04d} fmode:fanNull\n")
    made.packages("python3-venv", "python3-dev", "g++", "python3-pip", "python3-setuptools", *GSTREAMER)
    for header in ("cuda.h", "cudaProfiler.h"):
        made.write(f"usr/local/cuda/include/{header}", "")
    made.write("usr/local/cuda/lib64/stubs/libcuda.so", "")
    for library in ("numpy", "tensorrt"):
        made.library(library, f"__version__ = {facts[library]!r}\n")
    made.library("cv2", made.opencv(facts["cv2"]))
    made.library("sitecustomize", made.jetpacks_python(facts["python"]))
    libraries = made.root / "usr/lib/python3/dist-packages"
    python3 = f"""#!/bin/bash
[ "$1" != -m ] || exec {python} "$@"
JETPACKS_PYTHON=1 PYTHONPATH={libraries} exec {python} "$@"
"""
    made.write("usr/bin/python3", python3).chmod(0o755)
    for program in ("sudo", "apt-get", "systemctl"):
        made.stand_in(program)
    return made
