"""A backbone with random weights, both as a bundle and as one graph: what the benchmarks measure.

    python -m tlee.export.backbone mobilenetv2 FOLDER

writes FOLDER/mobilenetv2.tlee and FOLDER/mobilenetv2.onnx, full size, three branches. `--list` names the backbones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

from tlee import cli
from tlee.export.exporter import export_bundle
from tlee.export.segments import SegmentModule, to_onnx
from tlee.files import atomic_write
from tlee.models.backbones import BACKBONES
from tlee.models.checkpoint import save_checkpoint
from tlee.models.config import Config, ModelConfig
from tlee.models.model import Tlee


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="tlee.export.backbone", description="Write a backbone whole and in segments.")
    parser.add_argument("name", choices=BACKBONES, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--list", action="store_true", help="print the names of all backbones instead")
    options = parser.parse_args(arguments)
    if options.list:
        print(" ".join(BACKBONES))
    elif not options.folder:
        parser.error("give a backbone and a folder")
    else:
        write(options.name, options.folder)


def write(name: str, folder: Path) -> None:
    """Both forms of a backbone. Raises UsageError where the folder cannot be written."""
    model = Tlee(Config(name=name, model=ModelConfig(backbone=name, classes=101))).eval()
    checkpoint = folder / f"{name}.safetensors"
    save_checkpoint(checkpoint, model)
    export_bundle(model, checkpoint.with_suffix(".tlee"), checkpoint, verified=False, replace=True)
    if not any(model.backbone.state_shapes):  # a graph of one frame alone would have to compute something else
        write_whole(model, checkpoint.with_suffix(".onnx"))


def write_whole(model: Tlee, path: Path) -> None:
    """A model's backbone as one graph, from the frame to the last map."""
    size = model.config.model.input_size
    whole = nn.Sequential(model.normalise, *model.backbone.features).eval()
    graph = SegmentModule(path.stem, whole, ("frame",), ((1, size, size, 3),), ("map",))
    with atomic_write(str(path), "wb") as stream:
        stream.write(to_onnx(graph).SerializeToString())


if __name__ == "__main__":
    cli.main("tlee.export.backbone", command)
