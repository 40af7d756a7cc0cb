"""Heads of each frame, stacked for export, give what the model's own give in every frame."""

import pytest
import torch
from conftest import SMALL, enliven, small_model

from tlee.export.segments import segment_modules, to_onnx
from tlee.runtime.onnx_session import open_session


@pytest.fixture(scope="module")
def model():
    return enliven(small_model(model={**SMALL["model"], "heads": "per_frame", "gate": "eg", "neck": 20}))


@pytest.fixture(scope="module")
def heads(model):
    return {part.name: part for part in segment_modules(model) if part.name in ("head", "gate")}


def features(frame):
    torch.manual_seed(frame)
    return torch.randn(2, 1, 20)


@pytest.mark.parametrize("frame", range(4))
@torch.inference_mode()
def test_a_segment_picks_the_heads_of_its_frame(model, heads, frame):
    z, previous = features(frame)
    position = torch.full((1, 1), float(frame))
    logits, _ = heads["head"].module(z, torch.ones(1, 1), position)
    torch.testing.assert_close(logits, model.classify(z, frame))
    if frame:
        score = heads["gate"].module(z, previous, position)
        torch.testing.assert_close(score, model.stop_logit(z, previous, frame).sigmoid())


@torch.inference_mode()
def test_videos_at_different_frames_are_answered_at_once(model, heads):
    z, previous = torch.cat([features(t) for t in (3, 1)], 1)
    position = torch.tensor([[3.0], [1.0]])
    session = open_session(to_onnx(heads["gate"]).SerializeToString(), threads=1, batch=None)
    given = {"z": z.numpy(), "previous": previous.numpy(), "position": position.numpy()}
    (score,) = session.run(["score"], given)
    wanted = [model.stop_logit(z[i : i + 1], previous[i : i + 1], t).sigmoid() for i, t in enumerate((3, 1))]
    torch.testing.assert_close(torch.from_numpy(score), torch.cat(wanted))


@torch.inference_mode()
def test_frames_have_heads_of_their_own(model):
    z, previous = features(0)
    assert len({round(float(model.classify(z, t)[0, 0]), 5) for t in range(4)}) == 4
    assert len({round(float(model.stop_logit(z, previous, t)), 5) for t in range(1, 4)}) == 3
