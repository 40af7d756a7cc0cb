"""The weights a training starts from."""

from __future__ import annotations

from pathlib import Path

from tlee.errors import UsageError
from tlee.models.checkpoint import load_checkpoint
from tlee.models.model import Tlee
from tlee.models.published import published_entries
from tlee.training.run_folder import BEST

PUBLISHED_ENDING = ".pth.tar"


def initialise(model: Tlee, init: str) -> str:
    """Give a model its starting weights, as in `TrainingConfig.init`; returns a line that reports it.

    Raises:
        UsageError: ImageNet weights cannot be had, or nothing of the checkpoint fits.
        CheckpointError: the checkpoint cannot be read.
    """
    if init == "random":
        return "starting from random weights"
    if init == "imagenet":
        model.backbone.load_imagenet()
        return "starting from ImageNet weights"
    file, own = best_checkpoint(init), model.state_dict()
    is_ours = file.suffix == ".safetensors"
    given = load_checkpoint(file).state_dict() if is_ours else published_entries(file, model)
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise UsageError(init, "nothing of this checkpoint fits the model", "give one of the same backbone")
    model.load_state_dict(fitting, strict=False)
    return f"starting from {file}: {len(fitting)} of the model's {len(own)} entries"


def best_checkpoint(init: str | Path) -> Path:
    """A checkpoint file, or in a folder the best one: of our runs, or of the published code.

    Raises:
        UsageError: the folder has none, or several of the published code that are not called the best.
    """
    path = Path(init)
    if not path.is_dir():
        return path
    if (path / BEST).exists():
        return path / BEST
    published = sorted(path.glob(f"*{PUBLISHED_ENDING}"))
    best = [file for file in published if "best" in file.name] or published
    if len(best) != 1:
        problem = f"{len(best)} checkpoints to start from" if best else "no checkpoint to start from"
        raise UsageError(path, problem, f"put {BEST} or a *{PUBLISHED_ENDING} there, or give a file (--set init=FILE)")
    return best[0]
