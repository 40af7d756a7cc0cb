"""Checks of what Python imports: NumPy, OpenCV, video, CUDA, TensorRT, ONNX Runtime; and of a bundle's engines.

As in system.py, pure functions of a `Machine` that name a cause once.
"""

import re
from typing import List, Optional, Tuple

from tlee.doctor.finding import ADVICE, MISSING, OK, WRONG, Finding, pip
from tlee.doctor.machine import Machine
from tlee.doctor.probe import Found
from tlee.doctor.releases import jetpack, numbers
from tlee.doctor.system import ANEW, lacks, sees_jetpack, system

# GPUs without fast kernels: "Hardware and Precision" in NVIDIA's support matrix of TensorRT 8.2.
NO_FAST = {"FP16": ("5.0", "5.2", "6.1"), "INT8": ("5.0", "5.2", "5.3", "6.0", "6.2")}
PIP_OPENCV = "opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless"
VIDEO_PACKAGES = (
    "sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-libav gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-bad"
)
SIGILL = 4


def numpy(machine: Machine) -> Optional[Finding]:
    found = machine.libraries["numpy"]
    if found.get("signal") == SIGILL:
        text = found["problem"] + ": its OpenBLAS takes this processor for another"
        return Finding(WRONG, "NumPy", text, "echo 'export OPENBLAS_CORETYPE=ARMV8' >> ~/.bashrc && . ~/.bashrc")
    if "problem" in found:
        command = _install(machine, found, "'numpy<2'" if machine.jetson else "numpy")
        if machine.jetson and found.get("missing"):
            command = "sudo apt install python3-numpy"
        return _broken(machine, "NumPy", found, command)
    if _new_numpy(machine):
        text = found["version"] + "; JetPack's OpenCV is made for NumPy 1"
        return Finding(WRONG, "NumPy", text, pip(machine, "install 'numpy<2'"))
    return Finding(OK, "NumPy", found["version"])


def opencv(machine: Machine) -> Optional[Finding]:
    found, packaged = machine.libraries["cv2"], "libopencv-python" in machine.packages
    apt = "sudo apt install " + ("--reinstall libopencv-python" if packaged else "nvidia-opencv")
    restore = pip(machine, "uninstall -y " + PIP_OPENCV) + ("" if packaged else " && " + apt)
    if "problem" in found:
        install = apt if found.get("missing") else restore
        if not machine.jetson:
            install = _install(machine, found, "opencv-python-headless")
        return _broken(machine, "OpenCV", found, install)
    if machine.jetson and not found["gstreamer"]:
        text = f"{found['version']} without GStreamer ({found['file']}): csi:// cameras cannot be read"
        debian = "/usr/lib/python3" in found["file"]  # where JetPack's is, below any root
        return Finding(ADVICE, "OpenCV", text, apt if debian else restore)
    return Finding(OK, "OpenCV", f"{found['version']}, {'with' if found['gstreamer'] else 'without'} GStreamer")


def video(machine: Machine) -> Optional[Finding]:
    """What reads video; for Python 3.6, which JetPack 4 has, there is no PyAV."""
    found = machine.libraries["video"]
    command = pip(machine, "install av") if numbers(machine.python.version) >= (3, 8) else VIDEO_PACKAGES
    if "problem" in found:
        return _broken(machine, "video", found, command)
    text = f"{found['through']} {found['version']}"
    if found["through"] == "PyAV":
        return Finding(OK, "video", text)
    lacking = [name for name in ("avdec_h264", "qtdemux") if name not in found["elements"]]
    if lacking:
        return Finding(MISSING, "video", f"{text} without {' and '.join(lacking)}", VIDEO_PACKAGES)
    where = "hardware where NVIDIA's decoder can" if "nvv4l2decoder" in found["elements"] else "software"
    return Finding(OK, "video", f"{text}, decodes in {where}")


def cuda(machine: Machine) -> Optional[Finding]:
    found = machine.libraries["cuda"]
    parts = ["toolkit " + machine.cuda] if machine.cuda else []
    parts += ["driver " + machine.driver] if machine.driver else []
    severity, command = OK, ""
    if "problem" not in found:
        parts.append(f"{found['gpu']} through {found['through']}, compute capability {found['capability']}")
        parts += [("no fast " if found["capability"] in slow else "fast ") + name for name, slow in NO_FAST.items()]
    elif not machine.jetson and not machine.driver:
        parts.append("no driver of NVIDIA's, so no GPU")
    elif found.get("missing"):
        parts.append("neither PyCUDA nor cuda-python is installed")
        if machine.jetson or "problem" not in machine.libraries["tensorrt"]:
            severity, command = MISSING, _install_binding(machine, "")
    elif _follows(machine, found):
        return None
    elif found.get("library"):
        severity, command = WRONG, _install_binding(machine, "--force-reinstall --no-deps --no-cache-dir ")
        parts.append(found["problem"])
    elif lacks(machine, "video"):
        return None
    else:
        severity, command = WRONG, "sudo tegrastats" if machine.jetson else "nvidia-smi"
        parts.append(found["problem"] + ": see whether the GPU is there")
    return Finding(severity, "CUDA", ", ".join(parts), command)


def tensorrt(machine: Machine) -> Optional[Finding]:
    found, packages = machine.libraries["tensorrt"], machine.packages
    text = "; ".join([found.get("version", "")] + found.get("notes", []))
    if not machine.jetson:
        if found.get("missing"):
            return Finding(OK, "TensorRT", "not installed; not needed where ONNX Runtime computes")
        if "problem" in found:
            return _broken(machine, "TensorRT", found, _install(machine, found, "tensorrt"))
        if "unsupported" in found:
            text += "; supported are 8.2 to 8.6, and 10.1 and later"
            return Finding(WRONG, "TensorRT", text, pip(machine, "install 'tensorrt>=10.1'"))
        return Finding(OK, "TensorRT", text)
    library = packages.get("libnvinfer8") or packages.get("libnvinfer10") or ""
    if "problem" in found:
        problem, names = found["problem"], "--reinstall tensorrt python3-libnvinfer"
        if found.get("missing") and not library:
            problem, names = "not installed", "tensorrt python3-libnvinfer"
        elif found.get("missing") and "python3-libnvinfer" not in packages:
            problem, names = f"{library} without its bindings for Python", "python3-libnvinfer"
        return _broken(machine, "TensorRT", dict(found, problem=problem), "sudo apt install " + names)
    if (library and _release(library) != _release(found["version"])) or numbers(found["version"]) >= (11, 0):
        text = f"{found['version']} ({found['file']}) instead of JetPack's {library}; JetPack needs its own"
        ours = pip(machine, "freeze | cut -d= -f1 | grep -i ^tensorrt | xargs -r ") + pip(machine, "uninstall -y")
        return Finding(WRONG, "TensorRT", text, ours)
    if "unsupported" not in found:
        return Finding(OK, "TensorRT", text)
    return None if system(machine).severity == WRONG else Finding(WRONG, "TensorRT", found["unsupported"], ANEW)


def onnxruntime(machine: Machine) -> Optional[Finding]:
    found = machine.libraries["onnxruntime"]
    if "problem" in found:
        if machine.jetson or runs_tensorrt(machine):  # what a Jetson lacks otherwise is TensorRT, and that is said
            return Finding(OK, "ONNX Runtime", found["problem"] + "; engines do not need it")
        return _broken(machine, "ONNX Runtime", found, _install(machine, found, "onnxruntime"))
    shown = [name for name in ("Tensorrt", "CUDA", "CPU") if name + "ExecutionProvider" in found["providers"]]
    text = f"{found['version']}, computes on {', '.join(shown)}"
    if machine.driver and not machine.jetson and backends(machine) == ["CPU (ONNX Runtime)"]:
        other = pip(machine, "uninstall -y onnxruntime") + " && " + pip(machine, "install onnxruntime-gpu")
        return Finding(ADVICE, "ONNX Runtime", text + ", not on the GPU that is here", other)
    return Finding(OK, "ONNX Runtime", text)


def engines(machine: Machine) -> Optional[Finding]:
    found = machine.libraries.get("engines")
    if found is None:
        return None
    if "problem" in found:
        return Finding(OK, "engines", f"none can run here ({found['problem']})")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found["states"].items()))
    if set(found["states"]) == {"ready"}:
        return Finding(OK, "engines", counts)
    return Finding(ADVICE, "engines", counts or "none in this bundle", "tlee-build " + found["bundle"])


def backends(machine: Machine) -> List[str]:
    """What tlee-run can compute on here, for people, the fastest first."""
    providers = machine.libraries["onnxruntime"].get("providers", [])
    gpu = "CUDAExecutionProvider" in providers and (machine.jetson or machine.driver)
    there = [("TensorRT", runs_tensorrt(machine)), ("CUDA (ONNX Runtime)", gpu)]
    there += [("CPU (ONNX Runtime)", "CPUExecutionProvider" in providers)]
    return [name for name, works in there if works]


def runs_tensorrt(machine: Machine) -> bool:
    found = machine.libraries["tensorrt"]
    return not {"problem", "unsupported"} & set(found) and "problem" not in machine.libraries["cuda"]


def _broken(machine: Machine, subject: str, found: Found, command: str) -> Optional[Finding]:
    """A library that is not there or cannot be imported, unless another finding says why."""
    if _follows(machine, found):
        return None
    return Finding(MISSING if found.get("missing") else WRONG, subject, found["problem"], command)


def _install(machine: Machine, found: Found, package: str) -> str:
    """A command that installs a package, or a broken one again."""
    again = "" if found.get("missing") else "--force-reinstall --no-deps "
    return pip(machine, f"install {again}{package}")


def _follows(machine: Machine, found: Found) -> bool:
    """Whether a library's problem comes from a Python that does not see it, or from NumPy."""
    if found.get("missing"):
        return not sees_jetpack(machine)
    library = machine.libraries["numpy"]
    same = "signal" in found and found["signal"] == library.get("signal")
    unfit = "problem" in library or _new_numpy(machine)
    return unfit and library is not found and (same or "numpy" in found["problem"].lower())


def _new_numpy(machine: Machine) -> bool:
    return machine.jetson and numbers(machine.libraries["numpy"].get("version", "")) >= (2, 0)


def _install_binding(machine: Machine, how: str) -> str:
    """PyCUDA is compiled, for which the toolkit must be there and found."""
    known = jetpack(machine.l4t)
    if not machine.jetson or known is None:
        return pip(machine, f"install {how}cuda-python")
    if not known.compiled:
        return pip(machine, f"install {how}{known.binding}")
    toolkit = "" if machine.compiler else f"sudo apt install cuda-toolkit-{known.cuda} && "
    install = pip(machine, f"install --no-build-isolation {how}{known.binding}")
    return f"{toolkit}PATH=$PATH:/usr/local/cuda/bin {install}"


def _release(version: str) -> Tuple[str, ...]:
    """8.2.1 of 8.2.1.8 and of 8.2.1-1+cuda10.2."""
    return tuple(re.findall(r"\d+", version)[:3])
