"""The golden traces as models, clips and expected steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from golden import golden

from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_STD, Config

FOLDER = Path(__file__).parent
TRACES = ("golden_mobilenetv2_gm_mp", "golden_resnet18_gm_ap")
FRM_NAMES = {"mp": "max", "ap": "mean"}


def load_trace(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def trace_config(trace: dict) -> Config:
    """The configuration a trace was recorded with; its frames are already in processing order."""
    return Config(
        name=trace["backbone"],
        model={
            "backbone": trace["backbone"],
            "branches": trace["branch_num"],
            "branch_scale": trace["branch_scale"],
            "crm_num": trace["crm_num"],
            "frm": FRM_NAMES[trace["frm"]],
            "gate": trace["gate"],
            "neck": 4096 if trace["dataset"] == "ucf101" else None,
            "classes": trace["num_classes"],
        },
        frames={"count": trace["frames"]},
    )


def write_published(path: Path, trace: dict) -> Path:
    """A checkpoint file as the published code writes it, every weight made from its name."""
    state = {
        key: torch.from_numpy(np.asarray(golden.tensor(key, tuple(shape), trace["logit_gain"])))
        for key, shape in trace["state_dict"].items()
    }
    torch.save({"state_dict": state, "epoch": 30, "best_prec1": 81.5}, path)
    return path


def trace_clip(trace: dict) -> np.ndarray:
    """The trace's clip, turned back from normalised to RGB 0-255: (T, H, W, 3) float32."""
    clip = golden.clip(trace["frames"], seed=trace["clip_seed"]).transpose(0, 2, 3, 1)
    return ((clip * np.float32(PUBLISHED_STD) + np.float32(PUBLISHED_MEAN)) * 255).astype(np.float32)
