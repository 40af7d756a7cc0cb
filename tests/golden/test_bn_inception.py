"""BN-Inception against its golden values, block by block."""

import json
import re

import torch
from golden import golden
from golden.traces import FOLDER, golden_state
from pytest import approx

from tlee.models.backbones import Backbone


@torch.inference_mode()
def test_every_block_gives_the_golden_values():
    blocks = json.loads((FOLDER / "bn_inception_blocks.json").read_text())
    features = Backbone("bn_inception", 3, 224).features.eval()
    names = {re.sub(r"^\d+\.", "", name): name for name in features.state_dict()}
    assert set(names) == {name for name in blocks["state_dict"] if not name.startswith("fc.")}
    given = golden_state({name: blocks["state_dict"][name] for name in names})
    features.load_state_dict({names[name]: tensor for name, tensor in given.items()})
    x = torch.from_numpy(golden.clip()[:1])
    assert len(features) == len(blocks["blocks"])
    for block, want in zip(features, blocks["blocks"]):
        x = block(x)
        assert list(x.shape) == want["shape"]
        assert [x.mean().item(), x.std().item()] == approx([want["mean"], want["std"]], abs=1e-5), want["block"]
        assert x.flatten()[:5].tolist() == approx(want["first5"], abs=1e-5), want["block"]
