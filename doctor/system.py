"""Checks of the machine itself: board, JetPack, Python, memory, disk, power mode, camera, jtop, Docker.

Pure functions of a `Machine`. A cause is named once: what follows from it is not.
"""

import re
from typing import Optional, Tuple

from tlee.doctor.finding import ADVICE, OK, WRONG, Finding, pip
from tlee.doctor.machine import Machine
from tlee.doctor.releases import OLDEST, jetpack, numbers
from tlee.engines.memory import MIB, RESERVE
from tlee.power import jtop as jetson_stats

SMALL = 5 << 30  # bytes of memory; boards with less run out of it while they build
LITTLE_DISK = 1 << 30  # an engine is written before an older one of it goes; VGG-16's take some 500 MB
UNKNOWN = "not known: the system's /proc cannot be read"
OVER_THE_AIR = (32, 4)  # the first release of L4T that apt takes to 32.7
UPDATE = (
    "sudo sed -i 's/ r32\\.[0-9]* / r32.7 /' /etc/apt/sources.list.d/nvidia-l4t-apt-source.list && "
    "sudo apt update && sudo apt dist-upgrade"
)
ANEW = "# write the SD card anew: https://developer.nvidia.com/embedded/jetpack-archive"
SWAP = (
    "sudo fallocate -l 4G /mnt/4GB.swap && sudo chmod 600 /mnt/4GB.swap && "
    "sudo mkswap /mnt/4GB.swap && sudo swapon /mnt/4GB.swap"
)


def board(machine: Machine) -> Finding:
    place = ", in a container" if machine.container else ""
    other = f"no Jetson: {machine.name}, {machine.architecture}{place}; engines for a Jetson are built on that Jetson"
    return Finding(OK, "board", machine.name + place if machine.jetson else other)


def system(machine: Machine) -> Finding:
    if not machine.jetson:
        return Finding(OK, "system", machine.system)
    known, release = jetpack(machine.l4t), numbers(machine.l4t)
    # From its package, "4.6.1-b110", which boards that were given single packages do not have.
    name = re.split("[-+]", machine.packages.get("nvidia-jetpack", ""))[0] or (known.name if known else "unknown")
    text = f"JetPack {name} (L4T {machine.l4t or 'unknown'}), {machine.system}"
    if known:
        return Finding(OK, "system", text)
    if machine.l4t and release < OLDEST:
        text += "; its TensorRT is older than 8.2, which came with JetPack 4.6.1 (L4T 32.7)"
        return Finding(WRONG, "system", text, UPDATE if release >= OVER_THE_AIR else ANEW)
    text += "; not known here: see whether engines can be built and pass their checks"
    return Finding(ADVICE, "system", text, "tlee-build NAME.tlee")


def python(machine: Machine) -> Finding:
    found, known = machine.python, jetpack(machine.l4t)
    text = f"{found.version} ({found.executable})"
    if sees_jetpack(machine):
        return Finding(OK, "Python", text)
    if known and not fits(machine):
        text += f"; JetPack's TensorRT and OpenCV are for {known.python}"
        text += ": make an environment with it, then install tlee there"
        command = f"/usr/bin/python{known.python} -m venv --system-site-packages ~/tlee-env"
        return Finding(WRONG, "Python", text, command)
    text += ", in a virtual environment without --system-site-packages: JetPack's TensorRT and OpenCV are hidden"
    shown = "s/^include-system-site-packages.*/include-system-site-packages = true/"
    return Finding(WRONG, "Python", text, f"sed -i '{shown}' {found.venv}/pyvenv.cfg")


def fits(machine: Machine) -> bool:
    """Whether Python is of the release that JetPack's libraries are for, as far as that is known."""
    known = jetpack(machine.l4t)
    return known is None or machine.python.version.startswith(known.python + ".")


def sees_jetpack(machine: Machine) -> bool:
    """Whether Python imports what JetPack brings, or would if it were there. True on what is no Jetson."""
    missing = any(machine.libraries[name].get("missing") for name in ("tensorrt", "cv2"))
    return not (machine.jetson and missing) or (machine.python.sees_system and fits(machine))


def tlee(machine: Machine) -> Finding:
    lost = [name for name, path in machine.commands.items() if path is None]
    if lost:
        text = f"{machine.tlee}; a shell does not find {', '.join(lost)}"
        return Finding(ADVICE, "tlee", text, f'export PATH="{machine.scripts}:$PATH"')
    return Finding(OK, "tlee", f"{machine.tlee}: {', '.join(machine.commands) or 'no commands'}")


def groups(machine: Machine) -> Optional[Finding]:
    if not (machine.jetson or machine.cameras) or not lacks(machine, "video"):
        return None
    gpu = machine.jetson and "problem" in machine.libraries["cuda"]
    text, command = _join(machine, "video", "may not use " + ("the GPU and cameras" if gpu else "cameras"))
    return Finding(WRONG if gpu else ADVICE, "groups", text, command)


def lacks(machine: Machine, group: str) -> bool:
    """Whether the user is neither root nor in this group."""
    return machine.user_id != 0 and group not in machine.groups


def _join(machine: Machine, group: str, so: str) -> Tuple[str, str]:
    text = f"{machine.user} is not in group {group}, so {so}"
    if group in machine.login_groups:
        return text + "; the next login will be", f"newgrp {group}"
    return text + "; log out and in again afterwards", jetson_stats.JOIN.format(group)


def memory(machine: Machine) -> Finding:
    text = f"{machine.memory // MIB} MB, {machine.available // MIB} MB available"
    if machine.jetson and machine.memory and machine.available < RESERVE:
        text += f"; TensorRT needs about {RESERVE // MIB} to build: stop the desktop until the next start"
        return Finding(ADVICE, "memory", text, "sudo systemctl isolate multi-user.target")
    return Finding(OK, "memory", text if machine.memory else UNKNOWN)


def swap(machine: Machine) -> Finding:
    text = f"{machine.swap // MIB} MB on disk, {machine.zram // MIB} MB of zram"
    if machine.jetson and 0 < machine.memory < SMALL and not machine.swap:
        if machine.zram:
            text += "; zram is memory itself, of no use to builds"
            return Finding(ADVICE, "swap", text, "sudo systemctl disable nvzramconfig && " + SWAP)
        return Finding(ADVICE, "swap", text + "; builds of large models run out of memory", SWAP)
    return Finding(OK, "swap", text if machine.memory else UNKNOWN)


def disk(machine: Machine) -> Finding:
    text = f"{machine.free / 1e9:.1f} GB free in {machine.folder}"
    if machine.free < LITTLE_DISK:
        return Finding(ADVICE, "disk", text + "; engines may not fit", "sudo apt autoremove && sudo apt clean")
    return Finding(OK, "disk", text)


def power(machine: Machine) -> Optional[Finding]:
    if not machine.jetson:
        return None
    modes, mode, locked = machine.power_modes, machine.power_mode, machine.clocks_locked
    if mode not in modes:
        return Finding(OK, "power", "mode not known (sudo nvpmodel -q says it)")
    text = f"mode {mode} ({modes[mode]}), clocks {'locked' if locked else 'follow the load'}"
    best = max(sorted(modes), key=lambda number: _rank(modes[number]))
    if _rank(modes[mode])[:2] < _rank(modes[best])[:2]:
        return Finding(ADVICE, "power", f"{text}; {modes[best]} is faster", f"sudo nvpmodel -m {best}")
    return Finding(OK, "power", text + ("" if locked else " (for measurements: sudo jetson_clocks)"))


def _rank(mode: str) -> Tuple[int, int, int]:
    """Of power modes by their names, the fastest highest: MAXN and MAXN_SUPER have no limit, others say their watts,
    some their cores, which do not make the GPU faster."""
    watts, cores = re.search(r"(\d+)W", mode), re.search(r"(\d+)_?CORE", mode)
    free = mode.startswith("MAXN") + ("SUPER" in mode)
    return free, int(watts.group(1)) if watts else 0, int(cores.group(1)) if cores else 0


def camera(machine: Machine) -> Finding:
    text = ", ".join(machine.cameras) or "none connected"
    if machine.cameras and machine.camera_service == "stopped":
        text += "; NVIDIA's camera service does not run: csi:// cannot be read"
        return Finding(ADVICE, "camera", text, "sudo systemctl restart nvargus-daemon")
    return Finding(OK, "camera", text)


def jtop(machine: Machine) -> Optional[Finding]:
    """Without it only power is not measured, so all is advice."""
    if not machine.jetson:
        return None
    library, version = machine.libraries["jtop"], machine.jtop_version
    same = pip(machine, "install jetson-stats" + ("==" + version if version else ""))
    if not machine.jtop_running and machine.container:
        text = "its service is not in this container"
        command = f"# start the container with -v /{jetson_stats.SOCKET}:/{jetson_stats.SOCKET}"
    elif not machine.jtop_running and not machine.jtop_installed:
        text, command = "jetson-stats is not installed", f"{jetson_stats.INSTALL_IT} && {jetson_stats.RESTART}"
    elif not machine.jtop_running:
        text, command = "its service does not run", jetson_stats.RESTART
    elif "problem" in library:
        text, command = "jetson-stats in this Python: " + library["problem"], same
    elif version not in ("", library["version"]):
        text, command = f"its service is {version}, this Python has {library['version']}", same
    elif lacks(machine, jetson_stats.GROUP):
        text, command = _join(machine, jetson_stats.GROUP, "may not use it")
    else:
        return Finding(OK, "jtop", library["version"])
    return Finding(ADVICE, "jtop", "power is not measured: " + text, command)


def docker(machine: Machine) -> Optional[Finding]:
    if not machine.jetson or machine.container:
        return None
    if machine.docker_knows_runtime or not machine.docker:
        text = "with NVIDIA's runtime" if machine.docker else "not installed; only needed for containers"
        return Finding(OK, "Docker", text)
    register = "sudo nvidia-ctk runtime configure --runtime=docker"
    if numbers(machine.l4t) < (35, 0):  # there it is this package that tells Docker
        register = "sudo apt install --reinstall nvidia-docker2"
    install = register if machine.docker_runtime else "sudo apt install nvidia-container"
    text = "does not know NVIDIA's runtime: containers see no GPU"
    return Finding(ADVICE, "Docker", text, install + " && sudo systemctl restart docker")
