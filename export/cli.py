"""`tlee-export CHECKPOINT -o NAME.tlee`."""

from __future__ import annotations

import argparse

from tlee import cli
from tlee.info import describe


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="tlee-export", description="Turn a checkpoint into a bundle and verify it against PyTorch."
    )
    parser.add_argument("checkpoint", help=".safetensors of tlee-train, or .pth.tar of the published code")
    parser.add_argument("-o", "--output", required=True, metavar="NAME.tlee", help="the bundle to write")
    parser.add_argument("--config", metavar="FILE.yml", help="the model of a published checkpoint")
    parser.add_argument("--replace", action="store_true", help="replace the bundle if it exists")
    parser.add_argument("--no-verify", action="store_true", help="do not compare the bundle with PyTorch")
    options = parser.parse_args(arguments)

    # Imported here: torch takes seconds, and --help and wrong arguments need not wait for it.
    from tlee.export.exporter import export_bundle, load_model
    from tlee.models.config import Config, load_config

    config = load_config(options.config) if options.config else None
    assert config is None or isinstance(config, Config)
    model = load_model(options.checkpoint, config)
    bundle = export_bundle(model, options.output, options.checkpoint, not options.no_verify, options.replace)
    print("\n".join(describe(bundle)))
    print(f"written: {options.output}")


def main() -> None:
    cli.main("tlee-export", command)


if __name__ == "__main__":
    main()
