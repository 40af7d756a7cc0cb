"""The model as a whole."""

import pytest
import torch
from conftest import small_model


def test_frames_are_normalised_as_configured():
    model = small_model(frames={"count": 4, "resize": 36, "mean": (0.5, 0.0, 0.0), "std": (0.5, 1.0, 0.25)})
    frame = torch.tensor([255.0, 127.5, 51.0]).expand(1, 2, 2, 3)
    assert model.normalise(frame)[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.5, 0.8], abs=1e-6)
