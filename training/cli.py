"""`tlee-train CONFIG.yml -o CHECKPOINT.safetensors`."""

from __future__ import annotations

import argparse

from tlee import cli


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog="tlee-train", description="Train a TLEE model by stages, from folders of clips."
    )
    parser.add_argument("config", help="training configuration (YAML), see examples/digits.yml")
    parser.add_argument("-o", "--output", required=True, metavar="CHECKPOINT", help="the .safetensors to write")
    options = parser.parse_args(arguments)

    # Imported here: torch takes seconds, and --help and wrong arguments need not wait for it.
    from tlee.models.config import load_config
    from tlee.models.model import check_parts
    from tlee.training.config import TrainingConfig
    from tlee.training.train import train

    config = load_config(options.config, TrainingConfig)
    check_parts(options.config, config)
    train(config, options.output)


def main() -> None:
    cli.main("tlee-train", command)


if __name__ == "__main__":
    main()
