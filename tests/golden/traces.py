"""The golden traces as models, clips and expected steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from golden import golden
from torch import Tensor

from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_STD, Config

FOLDER = Path(__file__).parent
GIVEN = ("golden_mobilenetv2_gm_mp", "golden_resnet18_gm_ap")  # recorded from the published code
TRACES = sorted(path.stem for path in FOLDER.glob("golden_*.json"))  # these, and those of `record.py`


def load_trace(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def published_yaml(trace: dict) -> dict:
    """The trace's configuration in the keys of the published code."""
    return {
        "data": {"name": trace["dataset"], "num_frames": trace["frames"]},
        "model": {
            "backbone": trace["backbone"],
            "branch_num": trace["branch_num"],
            "branch_scale": trace["branch_scale"],
            "crm_num": trace["crm_num"],
            "useFeatureFunc": trace["frm"],
            "useGateFunc": trace["gate"],
        },
    }


def trace_config(trace: dict) -> Config:
    """The configuration a trace was recorded with; its frames are already in processing order."""
    return Config(
        name=trace["backbone"],
        model={
            "backbone": trace["backbone"],
            "shift": False,
            "branches": trace["branch_num"],
            "branch_scale": trace["branch_scale"],
            "crm_num": trace["crm_num"],
            "frm": trace["frm"],
            "gate": trace["gate"],
            "neck": 4096 if trace["dataset"] == "ucf101" else None,
            "classes": trace["num_classes"],
        },
        frames={"count": trace["frames"]},
    )


def golden_state(entries: dict[str, list[int]], logit_gain: float = 1.0) -> dict[str, Tensor]:
    """A state dictionary with every weight made from its name."""
    return {
        key: torch.from_numpy(np.asarray(golden.tensor(key, tuple(shape), logit_gain)))
        for key, shape in entries.items()
    }


def write_published(path: Path, trace: dict) -> Path:
    """A checkpoint file as the published code writes it."""
    state = golden_state(trace["state_dict"], trace["logit_gain"])
    torch.save({"state_dict": state, "epoch": 30, "best_prec1": 81.5}, path)
    return path


def normalised_clip(trace: dict) -> Tensor:
    """The trace's clip as it was recorded, (T, 3, H, W)."""
    return torch.from_numpy(golden.clip(trace["frames"], seed=trace["clip_seed"]))


def trace_clip(trace: dict) -> np.ndarray:
    """The trace's clip, turned back from normalised to RGB 0-255: (T, H, W, 3) float32."""
    clip = golden.clip(trace["frames"], seed=trace["clip_seed"]).transpose(0, 2, 3, 1)
    return ((clip * np.float32(PUBLISHED_STD) + np.float32(PUBLISHED_MEAN)) * 255).astype(np.float32)
