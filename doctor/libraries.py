"""Checks of what Python imports: NumPy, OpenCV, CUDA, TensorRT, ONNX Runtime; and of a bundle's engines.

As in system.py, pure functions of a `Machine` that name a cause once.
"""

import re
from typing import Iterator, List, Tuple

from tlee.doctor.finding import ADVICE, MISSING, OK, WRONG, Finding, pip
from tlee.doctor.machine import Machine, from_system
from tlee.doctor.probe import Found
from tlee.doctor.releases import jetpack, numbers
from tlee.doctor.system import ANEW, lacks, sees_jetpack, system

# GPUs without fast kernels: "Hardware and Precision" in NVIDIA's support matrix of TensorRT 8.2.
NO_FAST = {"FP16": ("5.0", "5.2", "6.1"), "INT8": ("5.0", "5.2", "5.3", "6.0", "6.2")}
PIP_OPENCV = "opencv-python opencv-python-headless opencv-contrib-python opencv-contrib-python-headless"
SIGILL = 4


def numpy(machine: Machine) -> Iterator[Finding]:
    found = machine.libraries["numpy"]
    if found.get("signal") == SIGILL:
        text = found["problem"] + ": its OpenBLAS takes this processor for another"
        yield Finding(WRONG, "NumPy", text, "echo 'export OPENBLAS_CORETYPE=ARMV8' >> ~/.bashrc && . ~/.bashrc")
    elif found.get("missing") and machine.jetson:
        yield from _broken(machine, "NumPy", found, "sudo apt install python3-numpy")
    elif "problem" in found:
        which = "'numpy<2'" if machine.jetson else "numpy"
        yield from _broken(machine, "NumPy", found, _install(machine, found, which))
    elif _new_numpy(machine):
        text = found["version"] + "; JetPack's OpenCV is made for NumPy 1"
        yield Finding(WRONG, "NumPy", text, pip(machine, "install 'numpy<2'"))
    else:
        yield Finding(OK, "NumPy", found["version"])


def opencv(machine: Machine) -> Iterator[Finding]:
    found, packaged = machine.libraries["cv2"], "libopencv-python" in machine.packages
    apt = "sudo apt install {}".format("--reinstall libopencv-python" if packaged else "nvidia-opencv")
    restore = pip(machine, "uninstall -y " + PIP_OPENCV) + ("" if packaged else " && " + apt)
    if "problem" in found:
        install = apt if found.get("missing") else restore
        if not machine.jetson:
            install = _install(machine, found, "opencv-python-headless")
        yield from _broken(machine, "OpenCV", found, install)
    elif machine.jetson and not found["gstreamer"]:
        text = "{version} without GStreamer ({file}): csi:// cameras cannot be read".format(**found)
        yield Finding(ADVICE, "OpenCV", text, apt if from_system(found["file"]) else restore)
    else:
        text = "{}, {} GStreamer".format(found["version"], "with" if found["gstreamer"] else "without")
        yield Finding(OK, "OpenCV", text)


def cuda(machine: Machine) -> Iterator[Finding]:
    found = machine.libraries["cuda"]
    parts = ["toolkit " + machine.cuda] if machine.cuda else []
    parts += ["driver " + machine.driver] if machine.driver else []
    severity, command = OK, ""
    if "problem" not in found:
        parts.append("{gpu} through {through}, compute capability {capability}".format(**found))
        parts += [("no fast " if found["capability"] in slow else "fast ") + name for name, slow in NO_FAST.items()]
    elif not machine.jetson and not machine.driver:
        parts.append("no driver of NVIDIA's, so no GPU")
    elif found.get("missing"):
        parts.append("neither PyCUDA nor cuda-python is installed")
        if machine.jetson or "problem" not in machine.libraries["tensorrt"]:
            severity, command = MISSING, _install_binding(machine, "")
    elif _follows(machine, found):
        return
    elif found.get("library"):
        severity, command = WRONG, _install_binding(machine, "--force-reinstall --no-deps --no-cache-dir ")
        parts.append(found["problem"])
    elif lacks(machine, "video"):
        return
    else:
        severity, command = WRONG, "sudo tegrastats" if machine.jetson else "nvidia-smi"
        parts.append("{}: see whether the GPU is there".format(found["problem"]))
    yield Finding(severity, "CUDA", ", ".join(parts), command)


def tensorrt(machine: Machine) -> Iterator[Finding]:
    found, packages = machine.libraries["tensorrt"], machine.packages
    library = packages.get("libnvinfer8") or packages.get("libnvinfer10") or ""
    if not machine.jetson:
        yield from _tensorrt_of_pc(machine, found)
    elif "problem" in found:
        text, names = found["problem"], "--reinstall tensorrt python3-libnvinfer"
        if found.get("missing") and not library:
            text, names = "not installed", "tensorrt python3-libnvinfer"
        elif found.get("missing") and "python3-libnvinfer" not in packages:
            text, names = f"{library} without its bindings for Python", "python3-libnvinfer"
        yield from _broken(machine, "TensorRT", dict(found, problem=text), "sudo apt install " + names)
    elif (library and _release(library) != _release(found["version"])) or numbers(found["version"]) >= (11, 0):
        text = "{version} ({file}) instead of JetPack's {}; JetPack needs its own".format(library, **found)
        ours = pip(machine, "freeze | cut -d= -f1 | grep -i ^tensorrt | xargs -r ") + pip(machine, "uninstall -y")
        yield Finding(WRONG, "TensorRT", text, ours)
    elif "unsupported" not in found:
        yield Finding(OK, "TensorRT", "; ".join([found["version"]] + found["notes"]))
    elif all(finding.severity != WRONG for finding in system(machine)):
        yield Finding(WRONG, "TensorRT", found["unsupported"], ANEW)


def _tensorrt_of_pc(machine: Machine, found: Found) -> Iterator[Finding]:
    if found.get("missing"):
        yield Finding(OK, "TensorRT", "not installed; not needed where ONNX Runtime computes")
    elif "problem" in found:
        yield from _broken(machine, "TensorRT", found, _install(machine, found, "tensorrt"))
    elif "unsupported" in found:
        text = found["version"] + "; supported are 8.2 to 8.6, and 10.1 and later"
        yield Finding(WRONG, "TensorRT", text, pip(machine, "install 'tensorrt>=10.1'"))
    else:
        yield Finding(OK, "TensorRT", "; ".join([found["version"]] + found["notes"]))


def onnxruntime(machine: Machine) -> Iterator[Finding]:
    found, cpu_alone = machine.libraries["onnxruntime"], ["CPU (ONNX Runtime)"]
    if "problem" not in found:
        shown = [name for name in ("Tensorrt", "CUDA", "CPU") if name + "ExecutionProvider" in found["providers"]]
        text = "{}, computes on {}".format(found["version"], ", ".join(shown))
        if machine.driver and not machine.jetson and backends(machine) == cpu_alone:
            other = pip(machine, "uninstall -y onnxruntime") + " && " + pip(machine, "install onnxruntime-gpu")
            yield Finding(ADVICE, "ONNX Runtime", text + ", not on the GPU that is here", other)
        else:
            yield Finding(OK, "ONNX Runtime", text)
    elif machine.jetson or runs_tensorrt(machine):  # what a Jetson lacks otherwise is TensorRT, and that is said
        yield Finding(OK, "ONNX Runtime", found["problem"] + "; engines do not need it")
    else:
        yield from _broken(machine, "ONNX Runtime", found, _install(machine, found, "onnxruntime"))


def engines(machine: Machine) -> Iterator[Finding]:
    found = machine.libraries.get("engines")
    if found is None:
        return
    if "problem" in found:
        yield Finding(OK, "engines", "none can run here ({})".format(found["problem"]))
        return
    counts = [f"{count} {state}" for state, count in sorted(found["states"].items())]
    ready = set(found["states"]) == {"ready"}
    command = "" if ready else "tlee-build {}".format(found["bundle"])
    yield Finding(OK if ready else ADVICE, "engines", ", ".join(counts) or "none in this bundle", command)


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


def _broken(machine: Machine, subject: str, found: Found, command: str) -> Iterator[Finding]:
    """A library that is not there or cannot be imported, unless another finding says why."""
    if not _follows(machine, found):
        yield Finding(MISSING if found.get("missing") else WRONG, subject, found["problem"], command)


def _install(machine: Machine, found: Found, package: str) -> str:
    """A command that installs a package, or a broken one again."""
    return pip(machine, "install {}{}".format("" if found.get("missing") else "--force-reinstall --no-deps ", package))


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
