"""What tests share: small models and bundles of real parts, real clips, engines, the doubles in this process.

Imports of PyTorch are inside of functions: the process that only hands tests to others reads this file, too.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from tlee.bundle import Bundle

if TYPE_CHECKING:
    from tlee.models.model import Tlee

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
CLIPS = EXAMPLES / "clips"
sys.path.insert(0, str(EXAMPLES))

SMALL = {
    "name": "small",
    "model": {"width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3},
    "frames": {"count": 4, "resize": 36},
    "labels": ["walk", "run", "jump"],
}


def small_model(seed: int = 0, **changes) -> Tlee:
    """A model of real parts, small enough for any test; `changes` replace sections of `SMALL`."""
    import torch

    from tlee.models.config import Config
    from tlee.models.model import Tlee

    torch.manual_seed(seed)
    return Tlee(Config(**{**SMALL, **changes})).eval()


def enliven(model: Tlee) -> Tlee:
    """Weights under which differences between frames reach the last layer, as the golden traces' do: with those a
    model is made with, deep features do not depend on the frame."""
    import torch

    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape)
        if name.endswith("running_var"):
            tensor.copy_(1 + 0.1 * noise.abs())
        elif tensor.dim() > 1:
            tensor.copy_(noise * (1.5 / tensor[0].numel()) ** 0.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.copy_(0.1 * noise)
        elif name.endswith("weight"):  # of a batch norm
            tensor.copy_(1 + 0.1 * noise)
    return model.eval()


def write_clip(
    path: Path, frames: int = 12, size: tuple[int, int] = (64, 48), fourcc: str = "mp4v", grey: int = 30
) -> Path:
    """A real video of a bar that moves; frame t is recognisable by the bar's place."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), 10, size)
    for t in range(frames):
        picture = np.full((size[1], size[0], 3), grey, np.uint8)
        picture[:, 4 * t : 4 * t + 4] = 220
        writer.write(picture)
    writer.release()
    return path


def lines(folder: Path, event: str | None = None) -> list[dict]:
    """The lines of a training run's metrics.jsonl, without what the clock says."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows if event in (None, row["event"])]


def same_models(a: Path, b: Path) -> bool:
    import torch

    from tlee.models.checkpoint import load_checkpoint

    one, two = (load_checkpoint(path).state_dict() for path in (a, b))
    return all(torch.equal(tensor, two[name]) for name, tensor in one.items())


@pytest.fixture(scope="session", autouse=True)
def own_pools():
    """No command that runs in this process lets its sessions share a pool of threads, which would stay for all tests
    after it."""
    from tlee.runtime import onnx_session

    options = onnx_session._session_options
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_session, "_session_options", lambda ort, threads, shared: options(ort, threads, False))
        yield


@pytest.fixture(scope="session", autouse=True)
def key_of_tests(tmp_path_factory):
    """Engines are signed with a key of the tests, in this process and in those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEE_ENGINE_KEY", str(tmp_path_factory.mktemp("key") / "engine.key"))
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """For tests that look at a report, but not at its plots: those take a second and more."""
    from matplotlib.figure import Figure

    plot = '<svg width="100pt" height="10pt"></svg>'
    monkeypatch.setattr(Figure, "savefig", lambda figure, stream, **_: stream.write(plot))


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory) -> Path:
    from tlee.models.checkpoint import save_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "small.safetensors"
    save_checkpoint(path, small_model())
    return path


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory, small_checkpoint) -> Path:
    """An exported and verified bundle. Tests that alter one copy it first."""
    from tlee.export.exporter import export_bundle

    path = tmp_path_factory.mktemp("bundle") / "small.tlee"
    export_bundle(small_model(), path, small_checkpoint)
    return path


@pytest.fixture(scope="session")
def sample_bundle(tmp_path_factory) -> Path:
    """The sample model's bundle, as `make demo` writes it but for the verification."""
    from tlee.export.exporter import export_bundle
    from tlee.models.checkpoint import load_checkpoint

    path = tmp_path_factory.mktemp("sample") / "digits.tlee"
    checkpoint = EXAMPLES / "digits.safetensors"
    export_bundle(load_checkpoint(checkpoint), path, checkpoint, verified=False)
    return path


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """A bundle of two splits and two exits, with variants in fp16 and int8. Tests that alter one copy it first."""
    from helpers.int8_variants import add_int8

    from tlee.export.exporter import export_bundle
    from tlee.models.checkpoint import save_checkpoint

    folder = tmp_path_factory.mktemp("engines")
    model = small_model(model={"width": 0.35, "input_size": 32, "branches": 1, "crm_num": 1, "classes": 3})
    enliven(model)
    save_checkpoint(folder / "small.safetensors", model)
    export_bundle(model, folder / "small.tlee", folder / "small.safetensors", verified=False, variants=["fp16"])
    add_int8(Bundle.open(folder / "small.tlee"))
    return folder / "small.tlee"


@pytest.fixture
def board(exported, tmp_path) -> Path:
    """A copy of the bundle, without engines."""
    return Path(shutil.copytree(exported, tmp_path / "small.tlee"))


@pytest.fixture(scope="session")
def built(exported, tmp_path_factory) -> Path:
    """The same bundle with its fp16 engines for a Nano. Tests that alter one copy it first."""
    from helpers.boards import tlee_build

    bundle = Path(shutil.copytree(exported, tmp_path_factory.mktemp("nano") / "small.tlee"))
    assert tlee_build(bundle).returncode == 0
    return bundle


@pytest.fixture
def nano(built, tmp_path) -> Path:
    """A copy of the bundle, with its fp16 engines for a Nano."""
    return Path(shutil.copytree(built, tmp_path / "small.tlee"))


@pytest.fixture
def load(monkeypatch):
    """A release's double and the driver's, in this process: their names are theirs until the test ends."""
    from doubles.driving import DOUBLED
    from doubles.environment import environment

    def loader(release: str | None, device: str = "desktop", cuda: str = "pycuda", fault: str | None = None, **changes):
        values = environment(release, device, cuda, fault, **changes)
        forget()
        for name in ("TLEE_DOUBLE_DEVICE", "TLEE_DOUBLE_FAULT"):
            monkeypatch.setenv(name, values.get(name, ""))
        monkeypatch.setattr(sys, "path", values["PYTHONPATH"].split(os.pathsep) + sys.path)
        driver = importlib.import_module("pycuda.driver" if cuda == "pycuda" else "cuda.bindings.driver")
        return importlib.import_module("tensorrt") if release else None, driver

    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] in DOUBLED}

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in DOUBLED]:
            del sys.modules[name]

    yield loader
    forget()
    sys.modules.update(kept)


class Clock:
    """A device's time that does not pass by itself, however long a busy machine takes: only where somebody waits."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds

    def drive(self, monkeypatch) -> Clock:
        """Be the clock of the fake device that was loaded last."""
        device = sys.modules["cuda_double.device"]
        monkeypatch.setattr(device, "now", self.now)
        monkeypatch.setattr(device, "pause", self.pause)
        return self


@pytest.fixture
def clip(tmp_path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Three classes that differ in their background, a few clips each."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 3), ("val", 2)):
        for label, grey in (("jump", 30), ("run", 110), ("walk", 180)):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                write_clip(root / split / label / f"{i}.mp4", frames=4 + 5 * i, grey=grey)
    return root
