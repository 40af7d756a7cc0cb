"""install/jetson.sh on boards of files: what it finds, refuses and would do; it changes nothing before it has asked."""

from __future__ import annotations

import re
import subprocess

import pytest
from helpers.install_boards import GSTREAMER

PINS = "'opencv-python<0' 'opencv-python-headless<0' 'opencv-contrib-python<0' 'tensorrt<0'"
SWAP = """\
advice  3956 MB of memory and hardly any swap on disk: building engines, or compiling, may be killed. Add 4 GB:
    sudo fallocate -l 4G /mnt/4GB.swap && sudo chmod 600 /mnt/4GB.swap
    sudo mkswap /mnt/4GB.swap && sudo swapon /mnt/4GB.swap
    echo '/mnt/4GB.swap none swap sw 0 0' | sudo tee -a /etc/fstab
"""
NANO = f"""\
board   NVIDIA Jetson Nano Developer Kit, L4T r32.7.1 (JetPack 4), Python 3.6
found   TensorRT 8.2.1.8, OpenCV 4.1.1 with GStreamer, NumPy 1.13.3
CUDA    through PyCUDA, to be compiled
disk    FREE MB free below ~
memory  2900 of 3956 MB available, 0 MB of swap on disk, 1978 MB compressed in memory
power   MAXN (mode 0)
{SWAP}
To be done:
  1. /usr/bin/python3 -m venv --system-site-packages ~/tlee-env
  2. printf '%s\\n' numpy==1.13.3 {PINS} > ~/tlee-env/constraints.txt && printf '[install]\\nconstraint = %s\\n' ~/tlee-env/constraints.txt > ~/tlee-env/pip.conf
  3. ~/tlee-env/bin/python -m pip install -r CHECKOUT/install/tools.txt
  4. grep -vE '^(jetson-stats|distro|smbus2)==' CHECKOUT/install/jetpack4.txt > ~/tlee-env/requirements.txt
  5. cp CHECKOUT/install/aksetup-defaults.py ~/tlee-env/.aksetup-defaults.py && HOME=~/tlee-env ~/tlee-env/bin/python -m pip install --no-cache-dir --no-build-isolation -r ~/tlee-env/requirements.txt
  6. rm -rf CHECKOUT/build/lib && ~/tlee-env/bin/python -m pip install --no-deps --no-build-isolation --force-reinstall CHECKOUT
  7. ~/tlee-env/bin/python -c 'import cv2, numpy, tensorrt; assert numpy.__version__ == "1.13.3" and cv2.__version__ == "4.1.1"'
  8. sudo -H python3 -m pip install jetson-stats==4.3.2 distro==1.9.0 smbus2==0.4.3
  9. sudo systemctl restart jtop.service
PyCUDA is compiled meanwhile: on a Nano this may take ten minutes (an estimate).
"""  # noqa: E501
ORIN6 = f"""\
board   NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super, L4T r36.4.3 (JetPack 6), Python 3.10
found   TensorRT 10.3.0, OpenCV 4.8.0 with GStreamer, NumPy 1.21.5
CUDA    through cuda-python's wheel
disk    FREE MB free below ~
memory  6300 of 7620 MB available, 0 MB of swap on disk, 1978 MB compressed in memory
power   25W (mode 1)
advice  power mode: 25W (mode 1) is not the fastest; sudo nvpmodel -m 2

To be done:
  1. /usr/bin/python3 -m venv --system-site-packages ~/tlee-env
  2. printf '%s\\n' numpy==1.21.5 {PINS} > ~/tlee-env/constraints.txt && printf '[install]\\nconstraint = %s\\n' ~/tlee-env/constraints.txt > ~/tlee-env/pip.conf
  3. ~/tlee-env/bin/python -m pip install -r CHECKOUT/install/tools.txt
  4. grep -vE '^(jetson-stats|distro|smbus2)==' CHECKOUT/install/jetpack6.txt > ~/tlee-env/requirements.txt
  5. ~/tlee-env/bin/python -m pip install --no-build-isolation -r ~/tlee-env/requirements.txt
  6. rm -rf CHECKOUT/build/lib && ~/tlee-env/bin/python -m pip install --no-deps --no-build-isolation --force-reinstall CHECKOUT
  7. ~/tlee-env/bin/python -c 'import cv2, numpy, tensorrt; assert numpy.__version__ == "1.21.5" and cv2.__version__ == "4.8.0"'
  8. sudo -H python3 -m pip install jetson-stats==4.3.2 distro==1.9.0 smbus2==0.4.3
  9. sudo systemctl restart jtop.service
"""  # noqa: E501


def steps(result: subprocess.CompletedProcess) -> list[str]:
    """The commands that are listed."""
    return re.findall(r"^  \d+\. (.*)$", result.stdout, re.MULTILINE)


def files(folder) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("name", "page"), [("nano", NANO), ("orin6", ORIN6)])
def test_a_healthy_board_is_described_and_every_command_shown_but_none_run(board, name, page):
    machine = board(name)
    before = files(machine.root)

    result = machine.run("--dry-run")

    assert re.sub(r"(?m)^(disk +)\d+", r"\1FREE", machine.plain(result.stdout)) == page
    assert result.stderr == "" and result.returncode == 0
    assert files(machine.root) == before and not any(machine.home.iterdir()) and machine.calls() == []


def test_jetpack_5_compiles_pycuda_as_4_does(board):
    result = board("orin5").run("--dry-run", "--no-jtop")

    assert "L4T r35.4.1 (JetPack 5), Python 3.8\nfound   TensorRT 8.5.2.2" in result.stdout
    assert "install/jetpack5.txt" in result.stdout and "aksetup-defaults.py" in result.stdout
    assert "advice" not in result.stdout


def test_without_jtop_nothing_is_installed_for_the_whole_system(board):
    assert not [step for step in steps(board("nano").run("--dry-run", "--no-jtop")) if "sudo" in step]


def test_pip_of_the_whole_system_is_installed_for_jtop_alone(board):
    machine = board("orin6")
    machine.packages("python3-venv", "python3-pip")
    needed = "sudo apt-get install -y --no-install-recommends python3-pip python3-setuptools"

    assert needed in steps(machine.run("--dry-run"))
    assert needed not in steps(machine.run("--dry-run", "--no-jtop"))


def test_a_jtop_that_is_there_stays_as_it_is(board):
    machine = board("nano")
    machine.library("jtop", "__version__ = '4.2.9'\n")
    machine.write("etc/systemd/system/jtop.service", "")

    result = machine.run("--dry-run")

    assert "jtop    4.2.9 is installed; it stays as it is\n" in result.stdout
    assert not [step for step in steps(result) if "sudo" in step]


def test_only_the_packages_of_debian_that_are_lacking_are_asked_of_apt(board):
    machine = board("nano")
    machine.packages("python3-dev", *GSTREAMER)
    first, *_ = steps(machine.run("--dry-run"))
    assert first == "sudo apt-get update && sudo apt-get install -y --no-install-recommends python3-venv g++"

    machine.write("var/lib/dpkg/status", "Package: python3-venv\nStatus: deinstall ok config-files\n")
    first, *_ = steps(machine.run("--dry-run"))
    needed = " ".join(["python3-venv", "python3-dev", "g++", *GSTREAMER])
    assert first == f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {needed}"


@pytest.mark.parametrize(("name", "needed"), [("nano", True), ("orin5", False)])
def test_gstreamer_is_installed_only_where_there_is_no_pyav(board, name, needed):
    machine = board(name)
    machine.packages("python3-venv", "python3-dev", "g++")
    assert any("gstreamer1.0-libav" in step for step in steps(machine.run("--dry-run", "--no-jtop"))) == needed


KNOWN = "JetPack 4.6.1 and later (r32.7), 5 (r35) and 6 (r36) are known"


@pytest.mark.parametrize(
    ("release", "line"),
    [
        ("R32 (release), REVISION: 6.1, GCID: 1", f"L4T r32.6.1 is too old: {KNOWN}; flash a newer JetPack"),
        ("R28 (release), REVISION: 2.0, GCID: 1", f"L4T r28.2.0 is too old: {KNOWN}; flash a newer JetPack"),
        ("R38 (release), REVISION: 2.0, GCID: 1", f"L4T r38.2.0: {KNOWN}"),
        ("nonsense", "/etc/nv_tegra_release: has no release of L4T in its first line; is it JetPack 4.6, 5 or 6?"),
    ],
)
def test_another_release_of_l4t_is_refused_in_one_line(board, release, line):
    machine = board("nano")
    machine.write("etc/nv_tegra_release", f"# {release}\n")

    result = machine.run("--dry-run")

    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"jetson.sh: {line}\n")


def test_on_a_pc_it_says_what_to_install_there(board):
    machine = board("nano")
    machine.remove("etc/nv_tegra_release")

    result = machine.run("--yes")

    line = "/etc/nv_tegra_release: missing, so this is no Jetson; on a PC: pip install '.[cpu]'"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"jetson.sh: {line}\n")


def refusals(machine, *arguments: str, **env: str) -> list[str]:
    result = machine.run("--yes", *arguments, **env)
    assert result.returncode == 2 and machine.calls() == [] and not any(machine.home.glob("tlee-env/bin"))
    return [machine.plain(line).replace("jetson.sh: ", "", 1) for line in result.stderr.splitlines()]


def test_all_that_is_lacking_is_named_at_once_with_its_command(board):
    machine = board("nano")
    machine.library("tensorrt", "raise ImportError\n")
    machine.library("cv2", "raise ImportError\n")
    machine.library("numpy", "raise SystemExit(132)\n")  # as where it crashes
    for file in ("include/cuda.h", "lib64/stubs/libcuda.so"):
        machine.remove(f"usr/local/cuda/{file}")

    assert refusals(machine) == [
        "NumPy: python3 cannot import it; sudo apt-get install python3-numpy",
        "OpenCV: python3 cannot import it; sudo apt-get install libopencv-python",
        "TensorRT: python3 cannot import it; sudo apt-get install python3-libnvinfer",
        "CUDA: no /usr/local/cuda/include/cuda.h to compile PyCUDA with; sudo apt-get install cuda-toolkit-10-2",
        "CUDA: no libcuda.so in /usr/local/cuda/lib64/stubs to link PyCUDA with; "
        "sudo apt-get install cuda-toolkit-10-2",
    ]


@pytest.mark.parametrize("name", ["orin5", "orin6"])
def test_on_newer_jetpacks_tensorrt_comes_with_nvidia_jetpack(board, name):
    machine = board(name)
    machine.library("tensorrt", "raise ImportError\n")
    assert refusals(machine) == ["TensorRT: python3 cannot import it; sudo apt-get install nvidia-jetpack"]


def test_jetpack_6_needs_no_headers_of_cuda(board):
    machine = board("orin6")
    machine.remove("usr/local/cuda/include/cuda.h")
    machine.remove("usr/local/cuda/lib64/stubs/libcuda.so")
    assert machine.run("--dry-run").returncode == 0


def test_a_full_disk(board):
    machine = board("nano")
    machine.stand_in(
        "df", '#!/bin/bash\necho "Filesystem 1M-blocks Used Available Capacity Mounted on\nx 9 9 499 1% /"\n'
    )
    line = "~: 499 MB of disk are free, 500 are needed; sudo apt-get clean, or --env on another disk"
    assert refusals(machine) == [line]


def test_another_python_than_jetpacks(board):
    machine = board("nano")
    machine.library("sitecustomize", "import sys\nsys.version_info = (3, 8, 0)\n")
    line = "/usr/bin/python3 is Python 3.8, JetPack 4's is 3.6; sudo ln -sf python3.6 /usr/bin/python3"
    assert refusals(machine) == [line]


def test_a_folder_that_is_not_its_own_is_left_alone(board):
    machine = board("nano")
    (machine.home / "tlee-env").mkdir()
    precious = machine.home / "tlee-env" / "mine.txt"
    precious.write_text("")

    line = "~/tlee-env: was not made by this script; choose another --env, or remove it"
    assert refusals(machine) == [line] and precious.exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fast"], "--fast: unknown; see --help"),
        (["--env"], "--env: a folder is missing; see --help"),
        (["--env", "/tmp/my env"], "/tmp/my env: pip takes no spaces here; choose another --env"),
    ],
)
def test_wrong_use(board, arguments, line):
    assert refusals(board("nano"), *arguments) == [line]


def test_with_sudo_in_front_the_environment_would_be_roots(board):
    line = "run it without sudo: it asks where it needs that, and the environment shall be yours"
    assert refusals(board("nano"), SUDO_USER="me") == [line]


def test_opencv_without_gstreamer_is_no_reason_to_stop_but_named(board):
    machine = board("nano")
    machine.library("cv2", machine.opencv("4.1.1", "NO"))
    result = machine.run("--dry-run")
    assert result.returncode == 0 and "OpenCV 4.1.1 without GStreamer" in result.stdout
    assert "no csi:// camera; sudo apt-get install libopencv-python\n" in result.stdout

    machine.remove("usr/lib/python3/dist-packages/cv2.py")
    machine.write("home/.local/lib/cv2.py", machine.opencv("4.5.0", "NO"))
    path = f"sys.path.insert(0, '{machine.root}/home/.local/lib')"
    machine.library("sitecustomize", f"import sys\nsys.version_info = (3, 6, 9)\n{path}\n")
    advice = "no csi:// camera; python3 -m pip uninstall opencv-python opencv-python-headless, with sudo if need be\n"
    assert advice in machine.run("--dry-run").stdout


def test_swap_on_disk_and_the_slow_power_mode(board):
    machine = board("nano")
    machine.write("proc/swaps", "Filename Type Size Used Priority\n/mnt/4GB.swap file 4194300 0 -2\n")
    machine.write("var/lib/nvpmodel/status", "pmode:0001 fmode:fanNull\n")

    page = machine.run("--dry-run").stdout

    assert "4095 MB of swap on disk, 0 MB compressed" in page and "fallocate" not in page
    assert "advice  power mode: 5W (mode 1) is not the fastest; sudo nvpmodel -m 0\n" in page


def test_it_asks_first(board):
    machine = board("nano")
    declined = machine.run(answer="n\n")
    assert declined.returncode == 0 and declined.stdout.endswith("Do it? [y/N] Nothing was done.\n")

    silent = machine.run()
    assert silent.returncode == 2
    assert silent.stderr == "jetson.sh: no answer, so nothing was done; --yes does not ask\n"
    assert not any(machine.home.iterdir()) and machine.calls() == []
