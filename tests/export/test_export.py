"""Export: what a bundle holds, and that a wrong one never appears."""

import json
import os
import re

import numpy as np
import onnx
import pytest
import torch
from conftest import small_model

from tlee.bundle import Bundle
from tlee.errors import UsageError, VerificationError
from tlee.export import cli, exporter, verify
from tlee.export.exporter import export_bundle, load_model
from tlee.export.segments import SegmentModule, count_traffic, segment_modules, to_onnx
from tlee.models.config import Config

SEGMENTS = {"split0", "split1", "split2", "branch0", "branch1", "tail", "frm", "head", "gate"}


def test_a_bundle_holds_every_segment_in_opset_13(small_bundle):
    bundle = Bundle.open(small_bundle)
    assert set(bundle.segments) == SEGMENTS
    for name in SEGMENTS:
        model = onnx.load_from_string(bundle.read(name))
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]


def test_classes_are_named_as_a_list_says(tmp_path, small_checkpoint, capsys):
    names = tmp_path / "names.txt"
    command = [str(small_checkpoint), "--labels", str(names), "--no-verify", "-o", str(tmp_path / "a.tlee")]
    names.write_text("stand\n\nsit\n lie down\n", encoding="utf-8")
    cli.command(command)
    assert Bundle.open(tmp_path / "a.tlee").labels == ["stand", "sit", "lie down"]
    for content, found in [(b"a\nb\n", "2 found, 2"), (b"a\nb\nb\n", "3 found, 2"), (b"", "0 found, 0")]:
        names.write_bytes(content)
        with pytest.raises(UsageError, match=rf"names.txt: not a list of 3 names \({found} of them different\)"):
            cli.command(command)


def test_batch_norm_is_folded_and_nothing_else_is_left_to_clean(small_bundle):
    bundle = Bundle.open(small_bundle)
    operators = {node.op_type for name in SEGMENTS for node in onnx.load_from_string(bundle.read(name)).graph.node}
    assert not operators & {"BatchNormalization", "Identity", "Dropout", "Constant", "Shape", "Cast"}


def test_the_neck_is_stored_once():
    config = {"width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3, "neck": 20}
    parts = {part.name: part for part in segment_modules(small_model(model=config))}
    assert set(parts) == SEGMENTS | {"neck"}
    holders = [name for name, part in parts.items() if any(p.shape[0] == 20 for p in part.module.parameters())]
    assert holders == ["neck"]


def test_normalisation_and_layout_are_inside_the_first_split(small_bundle):
    inputs = Bundle.open(small_bundle).manifest["segments"]["split0"]["inputs"]
    assert inputs == [{"name": "frame", "shape": [1, 32, 32, 3], "dtype": "float32"}]


def test_verification_records_what_it_compared(small_bundle):
    verification = Bundle.open(small_bundle).manifest["verification"]
    assert verification["clips"] == 4 and verification["runs"] >= 16 and verification["steps"] > 100
    assert 0 < verification["difference"] < 1e-4


def test_verification_meets_early_exits_of_both_kinds(small_bundle):
    model, reasons, bundle = small_model(), set(), Bundle.open(small_bundle)
    for clip in verify.synthetic_clips(bundle.frames):
        for _, steps in verify._runs(verify.TorchStages(model), clip, bundle):
            reasons |= {step.decision.reason.value for step in steps}
    assert {"gate", "layer confident", "last frame", "last exit", "none"} <= reasons


LATER = [pytest.param(name, marks=pytest.mark.full) for name in sorted(SEGMENTS - {"tail", "frm", "split1", "gate"})]


@pytest.mark.parametrize("segment", [pytest.param("split1", marks=pytest.mark.full), "gate", *LATER])
def test_a_segment_that_computes_something_else_is_found(tmp_path, monkeypatch, small_checkpoint, segment):
    def wrong(part):
        if part.name == segment:
            with torch.no_grad():
                next(p for p in part.module.parameters() if p.dim() > 1).mul_(5)  # an untrained model is not sensitive
        return to_onnx(part)

    monkeypatch.setattr(exporter, "to_onnx", wrong)
    good, bad = small_model(), small_model()
    monkeypatch.setattr(exporter, "verify", lambda model, *bundle: verify.verify(good, *bundle))
    with pytest.raises(VerificationError, match="verification failed"):
        export_bundle(bad, tmp_path / "a.tlee", small_checkpoint)
    assert os.listdir(tmp_path) == []


def test_an_existing_bundle_is_only_replaced_when_told(tmp_path, small_checkpoint):
    export_bundle(small_model(), tmp_path / "a.tlee", small_checkpoint, verified=False)
    with pytest.raises(UsageError, match="exists already"):
        export_bundle(small_model(), tmp_path / "a.tlee", small_checkpoint, verified=False)
    export_bundle(small_model(seed=5), tmp_path / "a.tlee", small_checkpoint, verified=False, replace=True)
    assert os.listdir(tmp_path) == ["a.tlee"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, small_checkpoint):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        export_bundle(small_model(), tmp_path / "file" / "a.tlee", small_checkpoint)


def test_the_command_exports_and_shows_what_it_wrote(tmp_path, small_checkpoint, capsys):
    cli.command([str(small_checkpoint), "-o", str(tmp_path / "a.tlee")])
    shown = capsys.readouterr().out
    assert re.search(r"verified: 4 clips, \d+ runs", shown) and f"written: {tmp_path}/a.tlee" in shown
    manifest = json.loads((tmp_path / "a.tlee" / "manifest.json").read_text())
    assert manifest["provenance"]["configuration"]["name"] == "small"


def test_the_configuration_goes_with_published_checkpoints_only(tmp_path, small_checkpoint):
    with pytest.raises(UsageError, match="leave --config out"):
        load_model(small_checkpoint, Config(model={"classes": 3}))
    (tmp_path / "a.pth.tar").write_bytes(b"x")
    with pytest.raises(UsageError, match="name its configuration with --config"):
        load_model(tmp_path / "a.pth.tar")


def test_synthetic_clips_are_the_same_every_time():
    spec = small_model().config.frame_spec()
    first, second = (list(verify.synthetic_clips(spec)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second))
    assert not np.array_equal(first[0], first[1])


class Residual(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.first, self.second = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)
        self.activation = activation

    def forward(self, x):
        x = self.activation(self.first(x))
        return torch.cat([x, x + self.second(x)], 1)


@pytest.mark.parametrize(
    ("activation", "layers"), [(torch.nn.ReLU(), 2), (torch.nn.SiLU(), 3), (torch.nn.MaxPool2d(3, 1, 1), 3)]
)
def test_what_an_engine_computes_on_the_way_out_of_a_layer_is_no_layer_and_no_map_of_its_own(activation, layers):
    segment = SegmentModule("split0", Residual(activation).eval(), ("x",), ((1, 3, 8, 8),), ("y",))
    assert count_traffic(to_onnx(segment)) == {"layers": layers, "elements": layers * 4 * 8 * 8}


def test_a_unit_costs_what_its_segments_cost_together(small_bundle):
    bundle = Bundle.open(small_bundle)
    for fused in bundle.fused_exits.values():
        for count in ("macs", "parameters", "elements", "layers"):
            parts = [getattr(bundle.segments[name], count) for name in fused.segments]
            assert getattr(fused, count) == sum(parts) and min(parts) >= 0
