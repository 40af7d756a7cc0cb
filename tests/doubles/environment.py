"""The environment of a subprocess that finds the doubles under the names of the real modules."""

from __future__ import annotations

import json
import os
from pathlib import Path

HERE = Path(__file__).parent
GB = 1 << 30

# Properties of real devices: NVIDIA's CUDA GPU list and the Jetson modules' data sheets. Memory in bytes. What is no
# property of theirs is how long an engine runs, for each run and for each video in its batch.
TIMES = {"milliseconds": 0.0, "milliseconds_per_row": 0.0}
DEVICES: dict[str, dict] = {
    "nano": {
        "name": "NVIDIA Tegra X1",
        "capability": [5, 3],
        "total": 4 * GB,
        "free": 2 * GB,
        "integrated": True,
        "dla_cores": 0,
        "fast_fp16": True,
        "fast_int8": False,
        "tf32": False,
        **TIMES,
    },
    "orin": {
        "name": "Orin",
        "capability": [8, 7],
        "total": 8 * GB,
        "free": 6 * GB,
        "integrated": True,
        "dla_cores": 2,
        "fast_fp16": True,
        "fast_int8": True,
        "tf32": True,
        **TIMES,
    },
    "desktop": {
        "name": "NVIDIA GeForce RTX 3060",
        "capability": [8, 6],
        "total": 12 * GB,
        "free": 11 * GB,
        "integrated": False,
        "dla_cores": 0,
        "fast_fp16": True,
        "fast_int8": True,
        "tf32": True,
        **TIMES,
    },
    "none": {},
}


def environment(
    release: str | None, device: str = "nano", cuda: str | None = "pycuda", fault: str | None = None, **changes: object
) -> dict[str, str]:
    """A copy of this process's environment in which `tensorrt` and CUDA are doubles, or not installed.

    Args:
        release: of TensorRT, "8.2", "8.6" or "10"; None where it is not installed.
        device: a key of `DEVICES`.
        cuda: "pycuda" or "cuda_python"; None where neither is installed.
        fault: of the builder, see `nvinfer_double.builder`, for example "kill" or "wrong:logits".
        changes: of the device's properties, for example `free=1 << 20` or `milliseconds=5.0`.

    Examples:
        subprocess.run([sys.executable, "-c", "import tensorrt"], env=environment("8.2"), check=True)
    """
    unknown = changes.keys() - DEVICES["nano"].keys()
    if unknown:
        raise TypeError(f"a device has no {', '.join(sorted(unknown))}")
    folders = [HERE / "shared", HERE / ("tensorrt_" + release.replace(".", "_") if release else "hidden/tensorrt")]
    folders += [HERE / name if name == cuda else HERE / "hidden" / name for name in ("pycuda", "cuda_python")]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing or cuda not in ("pycuda", "cuda_python", None):
        raise ValueError(f"there is no double for release {release!r} and CUDA {cuda!r}")
    paths = [str(folder) for folder in folders] + [p for p in [os.environ.get("PYTHONPATH")] if p]
    properties = {**DEVICES[device], **changes} if DEVICES[device] else {}
    result = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TLEE_DOUBLE_DEVICE": json.dumps(properties)}
    result.pop("TLEE_DOUBLE_FAULT", None)
    return {**result, "TLEE_DOUBLE_FAULT": fault} if fault else result
