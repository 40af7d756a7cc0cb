"""Every backbone, and every kind of branch, feature reuse and gate: exported, run as PyTorch runs it, taken by
TensorRT.

Small frames and widths, three frames a video and one branch, which leaves every operator as it is, and of
backbones that differ in size alone one; `make test-all` runs all, full size and three branches.
"""

from pathlib import Path

import pytest
import torch
from conftest import enliven
from helpers import tensorrt_rtx
from helpers.int8_variants import add_int8

from tlee.activations import Activations
from tlee.bundle import Bundle
from tlee.export.activations import deviation
from tlee.export.exporter import export_bundle
from tlee.graphs import check_graph
from tlee.models.backbones import BACKBONES
from tlee.models.checkpoint import save_checkpoint
from tlee.models.config import Config
from tlee.models.model import Tlee

SMALL = {
    "vgg16": {"width": 0.125, "input_size": 224},
    "mobilenetv2": {"width": 0.35},
    "mobilenetv2_tsm": {"width": 0.35},
}
SMALL |= {f"efficientnet_b{size}": {"width": 0.25} for size in range(8)}
# Of others, or in a golden trace (bn_inception, resnet18, mobilenetv2_tsm), or in PARTS (mobilenetv2).
SIZES = [*(f"efficientnet_b{size}" for size in range(1, 8)), "efficientnet_lite0", "resnet34", "resnet50"]
SIZES += ["bn_inception", "resnet18", "vgg16", "mobilenetv2", "mobilenetv2_tsm"]
FAMILIES = [pytest.param(name, marks=pytest.mark.full if name in SIZES else ()) for name in sorted(BACKBONES)]
HALF_PRECISION = 2e-2  # what hundreds of roundings of 0.0005 each add up to
PARTS = [  # with every kind of each at least once; what is not among the first two is in another test or a golden trace
    {"branch": "conv", "frm": "mean", "gate": "eg", "branches": 1, "neck": 24},
    pytest.param({"branch": "crm", "frm": "add", "gate": "gm", "cuts": [2, 7, 14]}, marks=pytest.mark.full),
    pytest.param({"branches": 1, "heads": "per_frame", "gate": "eg", "neck": 24}, marks=pytest.mark.full),
    pytest.param({"branch": "fc", "frm": "ema", "gate": "random", "branches": 1}, marks=pytest.mark.full),
    pytest.param({"branch": "crm", "frm": "attention", "gate": "none", "branches": 1}, marks=pytest.mark.full),
    pytest.param({"branch": "fc", "frm": "none", "gate": "eg", "branches": 1}, marks=pytest.mark.full),
]


def export(folder, **model) -> Bundle:
    torch.manual_seed(1)
    sizes = {"input_size": 64, **SMALL.get(model["backbone"], {}), **model}
    tlee = enliven(Tlee(Config(model={"classes": 7, **sizes}, frames={"count": 3, "resize": 256})))
    save_checkpoint(folder / "model.safetensors", tlee)
    return export_bundle(tlee, folder / "model.tlee", folder / "model.safetensors", variants=["fp16"])


def check(bundle: Bundle, folder: Path) -> None:
    verification = bundle.manifest["verification"]
    # Every step, value and answer as in PyTorch, or there would be no bundle.
    assert verification["runs"] >= 12 and verification["steps"] >= 30
    activations = Activations(bundle)
    for name in bundle.fused_exits:
        assert deviation(activations, name, bundle.read(name), threads=1) < 1e-5
    for name in bundle.manifest["variants"]["fp16"]["graphs"]:
        assert deviation(activations, name, bundle.read(name, "fp16"), threads=1) < HALF_PRECISION, name
    bundle = add_int8(bundle)
    graphs = {file for file in bundle.manifest["files"] if file.endswith(".onnx")}
    for file in graphs:
        check_graph(bundle.read_file(file), bundle.frames.length)
    assert {job.source for job in tensorrt_rtx.build_all(bundle, folder)} == graphs


@pytest.mark.parametrize("backbone", FAMILIES)
def test_every_backbone_is_exported_verified_and_taken_by_tensorrt(tmp_path, backbone):
    check(export(tmp_path, backbone=backbone, branches=1), tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_at_full_size_every_backbone_is_exported_verified_and_taken_by_tensorrt(tmp_path, backbone):
    check(export(tmp_path, backbone=backbone, width=1.0, input_size=224), tmp_path)


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts.values())))
def test_every_kind_of_part_is_exported_verified_and_taken_by_tensorrt(tmp_path, parts):
    check(export(tmp_path, backbone="mobilenetv2", **parts), tmp_path)
