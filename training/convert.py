"""`tlee-convert PUBLISHED.yml -o OWN.yml`: rewrite a configuration of the published code in our keys."""

from __future__ import annotations

import argparse

import yaml

from tlee import cli
from tlee.errors import UsageError
from tlee.files import atomic_write

PROGRAM = "tlee-convert"


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Rewrite a configuration of the published TLEE code, for all commands that take one.",
    )
    parser.add_argument("published", help="YAML file of the published code")
    parser.add_argument("-o", "--output", required=True, metavar="OWN.yml", help="the file to write")
    options = parser.parse_args(arguments)

    # Imported here: torch takes seconds, and --help and wrong arguments need not wait for it.
    from tlee.models.config import read_yaml, validated
    from tlee.models.published_config import as_published, own_keys, warn
    from tlee.training.config import TrainingConfig
    from tlee.training.published import notes, training_keys

    published = as_published(options.published, read_yaml(options.published))
    if published is None:
        raise UsageError(options.published, "not a configuration of the published code", "use it as it is")
    lines = notes(published)
    if published.data.path_split:
        keys = training_keys(options.published, published)
        validated(options.published, keys, TrainingConfig)
    else:
        keys, lines = own_keys(options.published, published), ["no data.path_split: written without data and stages"]
    with atomic_write(options.output) as stream:
        yaml.safe_dump(keys, stream, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    warn(PROGRAM, options.published, published.warnings())
    cli.show(*lines, f"written: {options.output}")


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
