"""Every backbone, and every kind of branch, feature reuse and gate: exported, run as PyTorch runs it, taken by
TensorRT.

Small frames (VGG: small width) and three frames a video, which leaves every operator as it is; `make test-all` runs
full size.
"""

import pytest
import rtx
import torch
from conftest import enliven

from tlee.bundle import Bundle
from tlee.export.exporter import export_bundle
from tlee.models.backbones import BACKBONES
from tlee.models.checkpoint import save_checkpoint
from tlee.models.config import Config
from tlee.models.model import Tlee

SMALL = {"vgg16": {"width": 0.125, "input_size": 224}}
SMALL |= {f"efficientnet_b{size}": {"width": 0.25} for size in range(1, 8)}
PARTS = [  # with every kind of each at least once
    {"branch": "conv", "frm": "mean", "gate": "eg", "neck": 24},
    {"branch": "fc", "frm": "ema", "gate": "random"},
    {"branch": "crm", "frm": "attention", "gate": "none"},
    {"branch": "crm", "frm": "add", "gate": "gm", "cuts": [2, 7, 14]},
    {"branch": "fc", "frm": "none", "gate": "eg", "branches": 1},
]


def export(folder, **model) -> Bundle:
    torch.manual_seed(1)
    sizes = {"input_size": 64, **SMALL.get(model["backbone"], {}), **model}
    tlee = enliven(Tlee(Config(model={"classes": 7, **sizes}, frames={"count": 3, "resize": 256})))
    save_checkpoint(folder / "model.safetensors", tlee)
    return export_bundle(tlee, folder / "model.tlee", folder / "model.safetensors")


def check(bundle: Bundle) -> None:
    verification = bundle.manifest["verification"]
    # Every step, value and answer as in PyTorch, or there would be no bundle.
    assert verification["runs"] >= 12 and verification["steps"] >= 40
    for name in bundle.segments:
        content = bundle.read(name)
        assert rtx.build(content) > 0
        assert rtx.build(rtx.in_fp16(content)) > 0


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_every_backbone_is_exported_verified_and_taken_by_tensorrt(tmp_path, backbone):
    check(export(tmp_path, backbone=backbone))


@pytest.mark.full
@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_at_full_size_every_backbone_is_exported_verified_and_taken_by_tensorrt(tmp_path, backbone):
    check(export(tmp_path, backbone=backbone, width=1.0, input_size=224))


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts.values())))
def test_every_kind_of_part_is_exported_verified_and_taken_by_tensorrt(tmp_path, parts):
    check(export(tmp_path, backbone="mobilenetv2", **parts))
