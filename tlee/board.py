"""Board, L4T release and Debian packages, from a machine's files alone: it also works on a copy of them."""

import os
import re
from typing import Collection, Dict

TEGRA = "etc/nv_tegra_release"  # on Jetsons alone
DPKG = "var/lib/dpkg/status"


def read(path: str, root: str = "/") -> str:
    """The text of a file below `root`; nothing where it cannot be read."""
    try:
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def processor(root: str = "/") -> str:
    """The board's model, else the processor's: that alone would not tell one board from another."""
    model = read("proc/device-tree/model", root).strip("\0 \n\t")
    named = re.search(r"^model name.*: *(.+)$", read("proc/cpuinfo", root), re.MULTILINE)
    return model or (named.group(1).strip() if named else "unknown processor")


def l4t(root: str = "/") -> str:
    """NVIDIA's release of Linux, such as 32.7.1; nothing on a machine that is no Jetson."""
    # "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64, DATE: ..."
    release = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", read(TEGRA, root))
    if release:
        return ".".join(release.groups())
    return packages(["nvidia-l4t-core"], root).get("nvidia-l4t-core", "").split("-")[0]  # 32.7.1-20220219090432


def packages(names: Collection[str], root: str = "/") -> Dict[str, str]:
    """Versions of those Debian packages that are installed."""
    found: Dict[str, str] = {}
    for paragraph in read(DPKG, root).split("\n\n"):
        name = paragraph.strip("\n").partition("\n")[0][len("Package: ") :]
        if name in names and re.search(r"^Status: \w+ ok installed$", paragraph, re.MULTILINE):  # also "hold ok"
            found[name] = re.findall("^Version: (.+)$", paragraph + "\nVersion: ", re.MULTILINE)[0]
    return found
