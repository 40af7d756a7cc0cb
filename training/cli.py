"""`tlee-train CONFIG.yml -o RUN`, or with a folder of clips instead of a configuration."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlee import cli
from tlee.errors import TleeError, UsageError
from tlee.training.launch import Launch, launch_of
from tlee.training.memory import keep_buffers
from tlee.training.recipes import RECIPES, completed

if TYPE_CHECKING:
    from tlee.training.config import TrainingConfig

PROGRAM = "tlee-train"


def command(arguments: list[str] | None) -> int | None:
    options = _parser().parse_args(arguments)
    launch = launch_of(os.environ, options.devices, options.nodes)
    try:
        _train(options, launch)
    except TleeError:
        if launch.first:
            raise
        return cli.WRONG_USE  # the first process reports it
    return None


def _train(options: argparse.Namespace, launch: Launch) -> None:
    # Imported here: torch takes seconds, and --help and wrong arguments need not wait for it.
    import torch
    from lightning_fabric.utilities import rank_zero_only

    from tlee.models.model import check_parts
    from tlee.training.processes import launched
    from tlee.training.run_folder import BEST, RunFolder
    from tlee.training.schedule import fitting_stages
    from tlee.training.train import Trainer
    from tlee.training.videos import read_data

    # Decides which process prints. Without it Lightning reads any launcher's variables.
    rank_zero_only.rank = 0 if launch.first else 1  # type: ignore[attr-defined]
    config = load(options.config, options.set, options.recipe, launch.first)
    check_parts(options.config, config)
    train, val = read_data(config)
    config = fitting_stages(config, len(train.entries))
    folder = RunFolder(options.output, writes=launch.first)
    with folder.claimed():
        if launch.first:
            for note in dict.fromkeys([*train.notes, *val.notes]):
                cli.report(PROGRAM, note)
            folder.create(config, options.resume)

        try:
            Trainer(config, train, val, folder, launched(launch, options.accelerator, config.precision)).run()
        except torch.OutOfMemoryError:
            remedy = "take fewer videos at once (batch, or more parts with accumulate), and start in another folder"
            raise UsageError(folder.path, "the GPU's memory is not enough for these stages", remedy) from None
        if launch.first:
            cli.show(f"written: {folder.path}; next: tlee-export {folder.path / BEST} -o {config.name}.tlee")


def load(path: str, changes: list[str], recipe: str | None = None, verbose: bool = False) -> TrainingConfig:
    """A training configuration from a file, ours or a published one, or for a folder of clips with all defaults.

    Args:
        changes: `key.key=value`, values that replace the file's, in our keys.
        recipe: replaces the file's.
        verbose: report what of a published file is ignored or may surprise.

    Raises:
        UsageError: the file cannot be read, a change is not of this form, or a key or value does not fit.
    """
    from tlee.data.labelled.listing import read_listing
    from tlee.models.config import read_yaml, validated
    from tlee.models.published_config import as_published, warn
    from tlee.training.config import TrainingConfig
    from tlee.training.published import notes, training_keys

    if os.path.isdir(path):
        classes = len(read_listing("folders", path).classes)
        name = Path(path).resolve().name
        content: dict[str, Any] = {"name": name, "model": {"classes": classes}, "data": {"train": path}}
    else:
        content = read_yaml(path)
        if published := as_published(path, content):
            content = training_keys(path, published)
            if verbose:
                warn(PROGRAM, path, published.warnings())
                for note in notes(published):
                    cli.report(PROGRAM, f"{path}: {note}")
    if recipe:
        content["recipe"] = recipe
    of_stages = [change for change in changes if change.startswith("stages.")]
    for change in changes:
        if change not in of_stages:
            _set(content, change)
    if of_stages:
        with contextlib.suppress(ValueError):  # no such recipe, which is found below
            content = completed(content)  # so that there are stages to change
    for change in of_stages:
        _set(content, change)
    return validated(path, content, TrainingConfig)


def _set(content: dict[str, Any], change: str) -> None:
    from tlee.models.yaml_text import parse_yaml

    name, equals, text = change.partition("=")
    *sections, key = name.split(".")
    try:
        if not equals:
            raise ValueError
        value, place = parse_yaml(text), content
        for section in sections:
            place = place[int(section)] if isinstance(place, list) else place.setdefault(section, {})
        place[int(key) if isinstance(place, list) else key] = value
    except (AttributeError, TypeError, ValueError, IndexError):
        remedy = "give key=value, as in model.input_size=112"
        raise UsageError(f"--set {change[:80]}", "cannot be set", remedy) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Train a TLEE model by stages, from labelled videos.",
        epilog="Several processes: --devices 4, or the same command under torchrun or srun.",
    )
    parser.add_argument(
        "config",
        help="configuration (YAML, see examples/digits.yml, or of the published code), or a folder with a subfolder of "
        "clips per class",
    )
    parser.add_argument("-o", "--output", required=True, metavar="RUN", help="folder of the run to write")
    parser.add_argument(
        "--recipe", choices=RECIPES, help="what trains where the configuration names no stages (default)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in this folder, if it has begun")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change the configuration")
    parser.add_argument("--accelerator", choices=("cpu", "cuda"), help="what computes (cuda where there is one)")
    parser.add_argument(
        "--devices", type=cli.positive, metavar="N", help="GPUs, or CPU processes (all GPUs, or one process)"
    )
    parser.add_argument("--nodes", type=cli.positive, default=1, metavar="N", help="machines (1)")
    return parser


def main() -> None:
    keep_buffers()
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
