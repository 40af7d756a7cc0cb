"""The processes of a run, started or found by Lightning Fabric."""

from __future__ import annotations

import logging
import warnings

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import environments

from tlee.training.config import Precision
from tlee.training.launch import ALONE, SRUN, TORCHRUN, Launch


def launched(launch: Launch, accelerator: str | None, precision: Precision) -> Fabric:
    """Fabric with its processes started; `accelerator` None for cuda if available."""
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "Grad strides do not match")  # harmless, of 1x1 convolutions
    warnings.filterwarnings("ignore", "The `srun` command is available")
    known = {
        TORCHRUN: environments.TorchElasticEnvironment,
        SRUN: environments.SLURMEnvironment,
        ALONE: environments.LightningEnvironment,
    }
    fabric = Fabric(
        accelerator=accelerator or ("cuda" if torch.cuda.is_available() else "cpu"),
        devices=launch.devices,
        num_nodes=launch.nodes,
        precision=precision,
        plugins=[known[launch.launcher]()],
    )
    fabric.launch()
    return fabric
