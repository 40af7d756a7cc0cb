"""What tlee-doctor says of machines in healthy and in broken states: exactly what is wrong, with what repairs it."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doubles.environment import HERE

from tlee import board
from tlee import cli as shared
from tlee.doctor import cli, machine
from tlee.doctor.cli import findings
from tlee.doctor.finding import ADVICE, MISSING, OK, WRONG
from tlee.doctor.libraries import backends
from tlee.doctor.releases import jetpack
from tlee.errors import UsageError

ROOT = Path(__file__).parents[2]
PIP = "home/me/tlee-env/lib/python3/site-packages"
ORT = "__version__ = '1.20.0'\ndef get_available_providers():\n    return {!r}\n"
PYTHON = "/home/me/tlee-env/bin/python"
ALL = ["nano", "orin5", "orin6", "pc"]
SWAPS = "Filename\t\t\t\tType\t\tSize\tUsed\tPriority\n"
CRASH = "import os, signal\nos.kill(os.getpid(), signal.{})\n"


@pytest.mark.parametrize("tree", ALL, indirect=True)
def test_of_a_healthy_machine_all_is_ok(tree):
    assert tree.found(anew=True) == {}


@pytest.mark.parametrize(
    ("tree", "expected", "said"),
    [
        (
            "nano",
            ["TensorRT"],
            {
                "board": "NVIDIA Jetson Nano Developer Kit",
                "system": "JetPack 4.6.1 (L4T 32.7.1), Ubuntu 18.04.6 LTS",
                "OpenCV": "4.1.1, with GStreamer",
                "video": "GStreamer 1.14.5, decodes in hardware where NVIDIA's decoder can",
                "CUDA": "toolkit 10.2.300, NVIDIA Tegra X1 through pycuda, compute capability 5.3, "
                "fast FP16, no fast INT8",
                "TensorRT": "8.2.1.8",
                "ONNX Runtime": "not installed; engines do not need it",
                "memory": "3964 MB, 2804 MB available",
                "swap": "4095 MB on disk, 0 MB of zram",
                "disk": f"21.5 GB free in {os.getcwd()}",
                "power": "mode 0 (MAXN), clocks follow the load (for measurements: sudo jetson_clocks)",
                "camera": "/dev/video0",
                "jtop": "4.3.2",
                "Docker": "with NVIDIA's runtime",
            },
        ),
        (
            "orin5",
            ["TensorRT"],
            {
                "system": "JetPack 5.1 (L4T 35.4.1), Ubuntu 20.04.6 LTS",
                "TensorRT": "8.5.2.2",
                "power": "mode 2 (MAXN_SUPER), clocks locked",
            },
        ),
        (
            "orin6",
            ["TensorRT"],
            {
                "system": "JetPack 6.2 (L4T 36.4.3), Ubuntu 22.04.5 LTS",
                "CUDA": "toolkit 12.6.20241114, Orin through cuda, compute capability 8.7, fast FP16, fast INT8",
                "swap": "0 MB on disk, 634 MB of zram",
            },
        ),
        (
            "pc",
            ["CPU (ONNX Runtime)"],
            {
                "board": "no Jetson: Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz, x86_64; "
                "engines for a Jetson are built on that Jetson",
                "CUDA": "no driver of NVIDIA's, so no GPU",
                "TensorRT": "not installed; not needed where ONNX Runtime computes",
                "ONNX Runtime": "1.10.0, computes on CPU",
                "camera": "none connected",
            },
        ),
    ],
    indirect=["tree"],
)
def test_it_says_what_is_there(tree, expected, said):
    tree.changes["architecture"] = "x86_64"
    found = tree.machine()
    texts = {finding.subject: finding.text for finding in findings(found)}
    assert {subject: texts[subject] for subject in said} == said
    assert backends(found) == expected


def hidden_venv(tree):
    tree.python = tree.python._replace(sees_system=False)
    tree.hide("tensorrt", "cv2", "numpy")


def other_python(tree):
    tree.python = tree.python._replace(version="3.11.4", venv=None)
    tree.hide("tensorrt", "cv2")


def unbound(tree):
    tree.nvidia(None, "nano", None)  # no PyCUDA; TensorRT is where it was


def without_toolkit(tree):
    unbound(tree)
    tree.remove("usr/local/cuda/bin/nvcc")


def new_numpy(tree):
    tree.numpy("2.0.2", PIP)
    tree.module("cv2", "raise ImportError('numpy.core.multiarray failed to import')\n")


def broken_numpy(tree):
    tree.module("numpy", CRASH.format("SIGILL"))  # all that imports it crashes as well


def no_video(tree):
    tree.edit("etc/group", "video:x:44:me", "video:x:45:")
    tree.nvidia(None, "nano", None)
    source = "class Error(Exception): pass\ndef init(): raise Error('cuInit failed: no CUDA-capable device')\n"
    tree.module("pycuda", "")
    tree.write("usr/lib/python3/dist-packages/pycuda/driver.py", source)


def gone_gpu(tree):
    tree.environment["TLEE_DOUBLE_DEVICE"] = "{}"


def pip_opencv(tree):
    tree.opencv("4.9.0", "NO", PIP)


def pip_tensorrt(tree):
    tree.module("tensorrt", f"exec(open({str(HERE / 'tensorrt_10/tensorrt/__init__.py')!r}).read())\n", PIP)


def without_tensorrt(tree):
    tree.hide("tensorrt")
    del tree.packages["libnvinfer8"], tree.packages["python3-libnvinfer"]


def without_bindings(tree):
    tree.hide("tensorrt")
    del tree.packages["python3-libnvinfer"]


def broken_tensorrt(tree):
    tree.module("tensorrt", "raise ImportError('libnvinfer.so.8: cannot open shared object file')\n")


def l4t(release, revision):
    line = "# R{} (release), REVISION: {}"
    return lambda tree: tree.edit("etc/nv_tegra_release", line.format("32", "7.1"), line.format(release, revision))


def old_jetpack(tree):
    l4t("32", "6.1")(tree)
    tree.packages["nvidia-jetpack"] = "4.6-b199"
    tree.packages["libnvinfer8"] = "8.0.1-1+cuda10.2"
    tree.module("tensorrt", "__version__ = '8.0.1.6'\n")


def memory(swaps="", available=2871340):
    def change(tree):
        tree.write("proc/swaps", SWAPS + swaps)
        tree.edit("proc/meminfo", "2871340", str(available))

    return change


def other_jtop(tree):
    tree.module("jtop", "__version__ = '4.2.12'\n", PIP)


def without_jtop(tree):
    tree.remove("run/jtop.sock", "etc/systemd/system/jtop.service")
    tree.hide("jtop")


def two_things(tree):
    without_tensorrt(tree)
    unbound(tree)
    tree.write("var/lib/nvpmodel/status", "pmode:0001\n")
    tree.remove("run/jtop.sock")


CASES = {
    # Python and its libraries on a board
    "venv": (
        "nano",
        hidden_venv,
        {"Python": (WRONG, "--system-site-packages", "^sed -i .*true/' /home/me/tlee-env/py")},
    ),
    "conda": ("nano", other_python, {"Python": (WRONG, "3.11.4.*are for 3.6", "^/usr/bin/python3.6 -m venv --sys")}),
    "no pycuda": (
        "nano",
        unbound,
        {"CUDA": (MISSING, "neither", f"^PATH=.*/cuda/bin {PYTHON} -m pip .*pycuda==2022.1$")},
    ),
    "no nvcc": (
        "nano",
        without_toolkit,
        {"CUDA": (MISSING, "neither", "^sudo apt install cuda-toolkit-10-2 && PATH=")},
    ),
    "no cuda-python": ("orin6", unbound, {"CUDA": (MISSING, "neither", f"^{PYTHON} -m pip install cuda-bindings==12")}),
    "no gpu": ("nano", gone_gpu, {"CUDA": (WRONG, "CUDA finds none", "tegrastats")}),
    "numpy 2": ("orin6", new_numpy, {"NumPy": (WRONG, "2.0.2; JetPack's OpenCV", "install 'numpy<2'$")}),
    "numpy crashes": ("nano", broken_numpy, {"NumPy": (WRONG, "signal 4", "OPENBLAS_CORETYPE=ARMV8")}),
    "no numpy": (
        "nano",
        lambda tree: tree.hide("numpy"),
        {"NumPy": (MISSING, "not installed", "apt install python3-numpy")},
    ),
    "pip's opencv": (
        "nano",
        pip_opencv,
        {"OpenCV": (ADVICE, "4.9.0 without GStreamer", "pip uninstall -y opencv-python")},
    ),
    "no opencv": (
        "orin5",
        lambda tree: tree.hide("cv2"),
        {"OpenCV": (MISSING, "not installed", "--reinstall libopencv")},
    ),
    "pip's tensorrt": (
        "orin5",
        pip_tensorrt,
        {"TensorRT": (WRONG, "instead of JetPack's 8.5.2-1", "pip uninstall -y$")},
    ),
    "no tensorrt": (
        "nano",
        without_tensorrt,
        {"TensorRT": (MISSING, "not inst", "apt install tensorrt python3-libnvinfer")},
    ),
    "no bindings": (
        "nano",
        without_bindings,
        {"TensorRT": (MISSING, "without its bind", "apt install python3-libnvinfer")},
    ),
    "no libnvinfer": ("nano", broken_tensorrt, {"TensorRT": (WRONG, "libnvinfer.so.8", "--reinstall tensorrt")}),
    # JetPack
    "jetpack 4.6": (
        "nano",
        old_jetpack,
        {"system": (WRONG, "JetPack 4.6 .*older than 8.2", "32.7.* && sudo apt dist-upg")},
    ),
    "jetpack 4.2": ("nano", l4t("32", "1.0"), {"system": (WRONG, "L4T 32.1.0", "^# write the SD card anew: https://")}),
    "future": ("nano", l4t("38", "2.0"), {"system": (ADVICE, "L4T 38.2.0.*not known here", "^tlee-build NAME.tlee$")}),
    # the machine
    "no video": ("nano", no_video, {"groups": (WRONG, "me is not in group video", r"^sudo usermod -aG video \$USER$")}),
    "no swap": ("nano", memory(), {"swap": (ADVICE, "run out", "^sudo fallocate.* && sudo swapon /mnt/4GB.swap$")}),
    "zram": (
        "nano",
        memory("/dev/zram0 partition\t507408\t0\t5\n"),
        {"swap": (ADVICE, "495 MB of zram", "nvzramconfig &&")},
    ),
    "little memory": (
        "nano",
        memory("/mnt/4GB.swap file\t4194300\t0\t-1\n", 800000),
        {"memory": (ADVICE, "781 MB available; TensorRT needs about 1024", "isolate multi-user.target$")},
    ),
    "little disk": ("nano", lambda tree: tree.changes.update(free=5 << 27), {"disk": (ADVICE, "0.7 GB", "apt clean$")}),
    "5 W": (
        "nano",
        lambda tree: tree.write("var/lib/nvpmodel/status", "pmode:0001\n"),
        {"power": (ADVICE, "5W", "-m 0$")},
    ),
    "default mode": ("orin6", lambda tree: tree.remove("var/lib/nvpmodel/status"), {"power": (ADVICE, "25W", "-m 2$")}),
    "camera": (
        "nano",
        lambda tree: tree.remove("tmp/argus_socket"),
        {"camera": (ADVICE, "csi://", "restart nvargus-daemon$")},
    ),
    "no runtime": (
        "orin5",
        lambda tree: tree.remove("etc/docker/daemon.json"),
        {"Docker": (ADVICE, "no GPU", "nvidia-ctk run")},
    ),
    # jtop
    "no jtop": (
        "nano",
        without_jtop,
        {"jtop": (ADVICE, "jetson-stats is not", "^sudo pip3 install jetson-stats && sudo")},
    ),
    "jtop stopped": (
        "nano",
        lambda tree: tree.remove("run/jtop.sock"),
        {"jtop": (ADVICE, "does not run", "restart jtop")},
    ),
    "jtop's releases": ("nano", other_jtop, {"jtop": (ADVICE, "is 4.3.2.*has 4.2.12", "install jetson-stats==4.3.2$")}),
    "jtop unseen": (
        "nano",
        lambda tree: tree.hide("jtop"),
        {"jtop": (ADVICE, "this Python: not installed", "==4.3.2$")},
    ),
    "jtop's group": (
        "nano",
        lambda tree: tree.edit("etc/group", "jtop:x:999:me", "jtop:x:998:me"),
        {"jtop": (ADVICE, "me is not in group jtop.*the next login will be", "^newgrp jtop$")},
    ),
    # a PC
    "no onnxruntime": (
        "pc",
        lambda tree: tree.hide("onnxruntime"),
        {"ONNX Runtime": (MISSING, "not", "pip install onnxruntime$")},
    ),
    "pc's opencv": (
        "pc",
        lambda tree: tree.hide("cv2"),
        {"OpenCV": (MISSING, "not installed", "install opencv-python-headless$")},
    ),
    "several": (
        "nano",
        two_things,
        {
            "CUDA": (MISSING, "neither", "pycuda"),
            "TensorRT": (MISSING, "not installed", "apt install"),
            "power": (ADVICE, "MAXN is faster", "-m 0"),
            "jtop": (ADVICE, "not run", "restart"),
        },
    ),
}


@pytest.mark.parametrize(("tree", "change", "expected"), CASES.values(), ids=CASES, indirect=["tree"])
def test_it_names_exactly_what_is_wrong(tree, change, expected):
    change(tree)
    found = tree.found()
    assert {subject: finding.severity for subject, finding in found.items()} == {
        subject: severity for subject, (severity, _, _) in expected.items()
    }
    for subject, (_, text, command) in expected.items():
        assert re.search(text, found[subject].text), found[subject].text
        assert re.search(command, found[subject].command), found[subject].command


def test_a_user_who_is_in_no_group_is_told_to_join(nano):
    nano.edit("etc/group", "jtop:x:999:me", "jtop:x:998:")
    found = nano.found()["jtop"]
    assert (
        found.text
        == "power is not measured: me is not in group jtop, so may not use it; log out and in again afterwards"
    )
    assert found.command == "sudo usermod -aG jtop $USER"


def test_where_cuda_works_without_the_group_only_cameras_need_it(nano):
    nano.edit("etc/group", "video:x:44:me", "video:x:45:me")
    found = nano.found()
    assert set(found) == {"groups"} and found["groups"].severity == ADVICE
    assert found["groups"].text == "me is not in group video, so may not use cameras; the next login will be"


def test_tensorrt_from_elsewhere_is_as_good_if_it_is_the_same_release(orin6):
    double = HERE / "tensorrt_10/tensorrt"
    (orin6.root / PIP).mkdir(parents=True)
    (orin6.root / PIP / "tensorrt").symlink_to(double)  # as some do in a virtual environment
    assert orin6.found() == {}


def test_a_camera_of_a_pc_needs_the_group_only_for_itself(pc):
    pc.edit("etc/group", "video:x:44:me", "video:x:45:")
    assert pc.found() == {}
    pc.write("dev/video0")
    assert pc.found()["groups"].severity == ADVICE


@pytest.mark.parametrize(("name", "modes", "now", "best"), [
    ("Xavier NX", {0: "MODE_15W_2CORE", 2: "MODE_15W_6CORE", 7: "MODE_20W_4CORE", 8: "MODE_20W_6CORE"}, 2, 8),
    ("Orin Nano of JetPack 5", {0: "15W", 1: "7W"}, 1, 0),
    ("AGX Orin", {0: "MAXN", 1: "MODE_15W", 2: "MODE_30W", 3: "MODE_50W"}, 2, 0),
])  # fmt: skip
def test_the_fastest_power_mode_is_known_by_its_name_on_every_board(orin6, name, modes, now, best):
    lines = "".join(f"< POWER_MODEL ID={number} NAME={mode} >\n" for number, mode in modes.items())
    orin6.write("etc/nvpmodel.conf", lines)
    orin6.write("var/lib/nvpmodel/status", f"pmode:{now:04d}\n")
    assert orin6.found()["power"].command == f"sudo nvpmodel -m {best}"
    orin6.write("var/lib/nvpmodel/status", f"pmode:{best:04d}\n")
    assert orin6.found() == {}


@pytest.mark.parametrize(("version", "problem"), [
    ("7.2.3.4", "supported are 8.2 to 8.6, and 10.1 and later"),
    ("10.0.1", "supported are 8.2 to 8.6, and 10.1 and later"),
    ("10.1.0", None),
    ("11.0.0", None),
])  # fmt: skip
def test_a_pc_may_have_every_tensorrt_that_tlee_is_made_for(pc, version, problem):
    pc.nvidia(None, "desktop", "pycuda")
    pc.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\n")
    pc.module("tensorrt", f"class ILogger: pass\n__version__ = {version!r}\n")
    found = pc.found()
    assert "CUDA" not in found
    if problem is None:
        assert found == {} and backends(pc.machine())[0] == "TensorRT"
    else:
        assert problem in found["TensorRT"].text and found["TensorRT"].command.endswith("install 'tensorrt>=10.1'")


def test_a_gpu_that_onnx_runtime_does_not_use_is_advice(pc):
    pc.write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\n")
    found = pc.found()
    assert set(found) == {"ONNX Runtime"} and found["ONNX Runtime"].severity == ADVICE
    assert found["ONNX Runtime"].command.endswith("-m pip install onnxruntime-gpu")
    pc.module("onnxruntime", ORT.format(["CUDAExecutionProvider", "CPUExecutionProvider"]))
    assert pc.found() == {}
    assert backends(pc.machine()) == ["CUDA (ONNX Runtime)", "CPU (ONNX Runtime)"]


def test_tensorrt_11_is_not_for_jetsons(orin6):
    orin6.module("tensorrt", "class ILogger: pass\n__version__ = '11.0.0'\n", PIP)
    assert "JetPack needs its own" in orin6.found()["TensorRT"].text


def test_an_import_that_hangs_is_a_finding_and_not_the_end(nano, monkeypatch):
    class Started(subprocess.Popen):
        def wait(self, timeout=None):  # however long a busy machine takes: what hangs has all the time, else nobody
            return super().wait(timeout if timeout is None or "cv2" in self.args else 300)

    monkeypatch.setattr(machine.subprocess, "Popen", Started)
    nano.module("cv2", "import time\ntime.sleep(600)\n")
    values = {**nano.environment, "PYTHONPATH": str(nano.root / "usr/lib/python3/dist-packages")}
    found = machine.run_all([["cv2"], ["numpy"]], values, patience=1.0)
    assert found["cv2"] == {"problem": "its import does not end within 1 s"}
    assert "version" in found["numpy"]


@pytest.mark.parametrize(("source", "problem"), [
    ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "its import crashes (signal 11)"),
    ("import sys\nprint('loading', flush=True)\nsys.exit('no licence')\n", "its import failed: no licence"),
    ("print('noise')\n1 / 0\n", "division by zero"),
])  # fmt: skip
def test_an_import_that_crashes_or_ends_python_is_a_finding(nano, source, problem):
    nano.module("cv2", source)
    found = nano.found()
    assert set(found) == {"OpenCV"} and found["OpenCV"].text == problem
    assert found["OpenCV"].command.startswith(f"{PYTHON} -m pip uninstall -y opencv-python ")


def test_a_full_disk_is_no_fault_of_a_library(nano, monkeypatch):
    values = {**nano.environment, "PYTHONPATH": str(nano.root / "usr/lib/python3/dist-packages")}
    cut = "import os\nend = os._exit\nos._exit = lambda status: (os.ftruncate(1, 5), end(status))\n"
    nano.module("cv2", cut + "__version__ = '4.1'\n")
    with pytest.raises(UsageError, match="no room for what is found; make room"):
        machine.run_all([["cv2"]], values)
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", functools.partial(open, "/dev/full", "r+b", buffering=0))
    with pytest.raises(OSError, match="No space left"):
        machine.run_all([["cv2"]], values)


def test_commands_that_a_shell_does_not_find_are_named(pc):
    pc.changes["commands"] = {"tlee-run": None, "tlee-info": "/usr/bin/tlee-info"}
    pc.changes["scripts"] = "/home/me/tlee-env/bin"
    found = pc.found()["tlee"]
    assert found.text.endswith("; a shell does not find tlee-run")
    assert found.command == 'export PATH="/home/me/tlee-env/bin:$PATH"'


def test_packages_that_were_removed_do_not_count_and_those_on_hold_do(tmp_path):
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status").write_text(
        "Package: libnvinfer8\nStatus: deinstall ok config-files\nVersion: 8.2.1-1+cuda10.2\n\n"
        "Package: nvidia-l4t-core\nStatus: hold ok installed\nVersion: 32.7.1-20220219090432\nDescription: NVIDIA\n"
        " Version: of no meaning\n\nPackage: bash\nStatus: install ok installed\nVersion: 4.4.18\n"
    )
    names = ["libnvinfer8", "nvidia-l4t-core"]
    assert board.packages(names, str(tmp_path)) == {"nvidia-l4t-core": "32.7.1-20220219090432"}
    assert board.l4t(str(tmp_path)) == "32.7.1"  # no /etc/nv_tegra_release, as in a container


def test_what_pip_is_to_install_is_pinned_as_the_installer_pins_it():
    for number, release in ((4, "32.7.1"), (5, "35.4.1"), (6, "36.4.3")):
        pinned = (ROOT / "install" / f"jetpack{number}.txt").read_text().splitlines()
        assert jetpack(release).binding in pinned


def test_the_command_for_a_venv_shows_it_the_systems_packages(nano, tmp_path):
    venv = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    ask = [venv / "bin/python", "-c", "from tlee.doctor import machine; print(machine._python().sees_system)"]

    def sees():
        run = subprocess.run(ask, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    assert sees() == "False"
    hidden_venv(nano)
    nano.python = nano.python._replace(venv=str(venv))
    subprocess.run(nano.found()["Python"].command, shell=True, check=True)
    assert sees() == "True"


def test_the_page_fits_the_terminal_and_commands_stay_in_one_piece(nano, monkeypatch, capsys):
    two_things(nano)
    read = nano.machine()
    monkeypatch.setattr(cli, "read", lambda root, bundle: read)
    commands = [finding.command for finding in nano.found().values()]
    for columns in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.command([]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert [line.strip() for line in lines if line.startswith("    ") and line.strip() in commands] == commands
        assert max(len(line) for line in lines if line.strip() not in commands) <= columns
        assert lines[-2:] == ["tlee-run computes here on: nothing", "2 to be fixed, 2 to be improved"]


def test_it_says_what_is_missing_to_read_video(nano):
    nano.gstreamer("qtdemux")
    found = nano.found()
    assert set(found) == {"video"} and found["video"].text == "GStreamer 1.14.5 without avdec_h264"
    assert "gstreamer1.0-libav" in found["video"].command
    nano.hide("gi")
    found = nano.found()
    assert found["video"].severity == MISSING and "neither PyAV" in found["video"].text
    assert found["video"].command.startswith("sudo apt install python3-gi ")


def test_as_json_it_is_the_findings_and_the_backends(pc, monkeypatch, capsys):
    monkeypatch.setattr(cli, "read", lambda root, bundle: pc.machine())
    assert cli.command(["--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"] == ["CPU (ONNX Runtime)"]
    assert {"severity": "ok", "subject": "OpenCV", "text": "5.0.0, without GStreamer", "command": ""} in found[
        "findings"
    ]


def test_advice_alone_is_no_failure(nano, monkeypatch):
    nano.remove("run/jtop.sock")
    monkeypatch.setattr(cli, "read", lambda root, bundle: nano.machine())
    assert cli.command([]) == 0


@pytest.mark.parametrize(("tree", "bundle", "severity", "said"), [
    ("nano", "built", OK, r"4 ready"),
    ("orin6", "built", ADVICE, r"4 of another device or TensorRT"),
    ("nano", "exported", ADVICE, r"none in this bundle"),
    ("pc", "built", OK, r"none can run here \(tensorrt: not installed\)"),
], indirect=["tree"])  # fmt: skip
def test_it_says_whether_a_bundles_engines_fit(tree, bundle, severity, said, request):
    path = request.getfixturevalue(bundle)
    (found,) = [finding for finding in findings(tree.machine(path)) if finding.subject == "engines"]
    assert found.severity == severity and re.fullmatch(said, found.text), found.text
    assert found.command == (f"tlee-build {path}" if severity == ADVICE else "")


def test_a_folder_that_is_no_bundle_is_wrong_use(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(machine, "LIBRARIES", ())  # it is refused whatever there is
    assert shared.run("tlee-doctor", cli.command, [str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"tlee-doctor: {tmp_path}: not a bundle")


def test_on_this_machine_it_says_what_is_true():
    """Without any stand-in: the tests themselves need NumPy, OpenCV and ONNX Runtime."""
    command = [sys.executable, "-m", "tlee.doctor.cli", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode in (0, 1) and run.stderr == ""
    found = {finding["subject"]: finding for finding in json.loads(run.stdout)["findings"]}
    assert (found["NumPy"]["severity"], found["NumPy"]["text"]) == (OK, np.__version__)
    assert {found[name]["severity"] for name in ("OpenCV", "ONNX Runtime")} == {OK}
    assert "CPU (ONNX Runtime)" in json.loads(run.stdout)["backends"]
    assert all(finding["command"] for finding in found.values() if finding["severity"] != OK)
