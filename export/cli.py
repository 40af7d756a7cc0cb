"""`tlee-export CHECKPOINT -o NAME.tlee`."""

from __future__ import annotations

import argparse

from tlee import cli
from tlee.errors import UsageError
from tlee.info import describe
from tlee.locks import write_lock

PROGRAM = "tlee-export"


def command(arguments: list[str] | None) -> None:
    options = _parser().parse_args(arguments)
    kept = None if options.branches is None else _branches(options.branches)

    # Imported late: torch takes seconds, which --help and wrong arguments need not wait for.
    from tlee.data.labelled.class_names import read_class_names
    from tlee.export.exporter import export_bundle, load_model, plain, with_branches
    from tlee.models.published_config import load_model_config, warn

    config = None
    if options.config:
        config, warnings = load_model_config(options.config)
        warn(PROGRAM, options.config, warnings)
    with write_lock(options.output, folder=True):
        model = load_model(options.checkpoint, config)
        if kept is not None:
            model = with_branches(model, kept)
        if options.labels:
            names = read_class_names(options.labels, model.config.model.classes)
            model.config = model.config.model_copy(update={"labels": names})
        bundle = export_bundle(
            plain(model) if options.plain else model,
            options.output,
            options.checkpoint,
            verified=not options.no_verify,
            replace=options.replace,
            target=options.target,
            variants=options.variants,
            branches=kept,
        )
    cli.show(*describe(bundle), f"written: {options.output}")


def _parser() -> argparse.ArgumentParser:
    # Imported late: onnx may not be installed, which `cli.main` reports.
    from tlee.export.targets import DEFAULT_TARGET, TARGETS, VARIANTS

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Turn a checkpoint into a bundle and verify it against PyTorch: segments, each exit as one graph "
        "composed of them, and recorded activations for a device to hold its engines against.",
    )
    parser.add_argument("checkpoint", help=".safetensors of tlee-train, or a published .pth.tar")
    parser.add_argument("-o", "--output", required=True, metavar="NAME.tlee", help="the bundle to write")
    parser.add_argument("--config", metavar="FILE.yml", help="of a published checkpoint; theirs or ours")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, one a line, instead of the model's own")
    parser.add_argument(
        "--target",
        choices=TARGETS,
        default=DEFAULT_TARGET,
        help="whose TensorRT must take every segment and fused exit (%(default)s)",
    )
    parser.add_argument(
        "--variants",
        choices=VARIANTS,
        action="append",
        default=[],
        help="also write graphs that compute in half precision, for TensorRT 11 and RTX, which read it from the ONNX",
    )
    parts = parser.add_mutually_exclusive_group()
    parts.add_argument(
        "--branches", metavar="B,...", help="keep only these branches of the model, numbered from 0, or `none` of them"
    )
    parts.add_argument(
        "--plain", action="store_true", help="the backbone alone, uncut and without exits, for tlee-bench --plain"
    )
    parser.add_argument("--replace", action="store_true", help="replace the bundle if it exists")
    parser.add_argument("--no-verify", action="store_true", help="do not compare the bundle with PyTorch")
    return parser


def _branches(text: str) -> list[int]:
    if text == "none":
        return []
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        problem = f"'{text[:80]}' are no numbers"
        raise UsageError("branches", problem, "give those to keep, as in --branches 1,2") from None


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
