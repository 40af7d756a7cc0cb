"""A backbone with random weights, both as a bundle and as one graph: what `benchmarks/chain.py` compares.

    python -m tlee.export.backbone mobilenetv2 FOLDER

writes FOLDER/mobilenetv2.tlee and FOLDER/mobilenetv2.onnx, full size, three branches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from torch import nn

from tlee import cli
from tlee.export.exporter import export_bundle
from tlee.export.segments import SegmentModule, to_onnx
from tlee.files import whole_file
from tlee.models.checkpoint import save_checkpoint
from tlee.models.config import Config, ModelConfig
from tlee.models.model import Tlee


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="tlee.export.backbone", description="Write a backbone whole and in segments.")
    parser.add_argument("name", help="a backbone of the registry")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    model = Tlee(Config(name=options.name, model=ModelConfig(backbone=options.name, classes=101))).eval()
    checkpoint = options.folder / f"{options.name}.safetensors"
    save_checkpoint(checkpoint, model)
    export_bundle(model, checkpoint.with_suffix(".tlee"), checkpoint, verified=False, replace=True)
    size = model.config.model.input_size
    whole = nn.Sequential(model.normalise, *model.backbone.features).eval()
    graph = SegmentModule(options.name, whole, ("frame",), ((1, size, size, 3),), ("map",))
    with whole_file(str(checkpoint.with_suffix(".onnx")), "wb") as stream:
        stream.write(to_onnx(graph).SerializeToString())


if __name__ == "__main__":
    cli.main("tlee.export.backbone", command)
