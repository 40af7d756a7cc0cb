"""A model's backbone by itself: the same weights, one graph from the frame to the last map, no exits."""

import numpy as np
import pytest
import torch
from conftest import enliven, small_model

from tlee.export.exporter import export_bundle, plain
from tlee.runtime import Recognizer

TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3}
NECK = {"width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3, "neck": 24}


@pytest.mark.parametrize("parts", [pytest.param(NECK, marks=pytest.mark.full), TSM])
def test_a_plain_bundle_computes_what_the_model_does_without_exits_and_reuse(parts, tmp_path, small_checkpoint):
    model = enliven(small_model(model=parts))
    bundle = export_bundle(plain(model), tmp_path / "plain.tlee", small_checkpoint)
    assert bundle.exits == 1 and bundle.chain() == ["split0", "exit0"] and bundle.name == "small-plain"
    assert not {"frm", "gate", "branch0"} & set(bundle.segments)
    clip = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    with Recognizer.load(bundle) as recognizer:
        trace = recognizer.recognize(clip, trace=True).trace
    with torch.inference_mode():
        expected = model.classifier(model.features(torch.from_numpy(clip)[None], {2})[2][0])
    assert [(step.frame, step.exit) for step in trace] == [(t, 0) for t in range(4)]
    assert np.allclose([step.logits for step in trace], expected, atol=1e-4)


def test_the_model_stays_as_it_is():
    model = small_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bare = plain(model)
    assert model.exits == 3 and bare.exits == 1 and model.config.model.branches == 2
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
