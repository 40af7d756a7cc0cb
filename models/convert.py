"""`tlee-convert PUBLISHED.yml -o OWN.yml`: a configuration of the published code in the keys of ours."""

from __future__ import annotations

import argparse

import yaml

from tlee import cli
from tlee.errors import UsageError
from tlee.files import whole_file

PROGRAM = "tlee-convert"


def command(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Rewrite a configuration of the published TLEE code.")
    parser.add_argument("published", help="YAML file of the published code")
    parser.add_argument("-o", "--output", required=True, metavar="OWN.yml", help="the file to write")
    options = parser.parse_args(arguments)

    # Imported here: torch takes seconds, and --help and wrong arguments need not wait for it.
    from tlee.models.config import Config, read_yaml, validated
    from tlee.models.model import check_parts
    from tlee.models.published_config import PublishedConfig, is_published, own_keys

    content = read_yaml(options.published)
    if not is_published(content):
        raise UsageError(options.published, "not a configuration of the published code", "use it as it is")
    published = validated(options.published, content, PublishedConfig)
    keys = own_keys(options.published, published)
    check_parts(options.published, validated(options.published, keys, Config))
    with whole_file(options.output) as stream:
        yaml.safe_dump(keys, stream, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    warn_of_unknown(PROGRAM, options.published, published.unknown())
    if published.training_only():
        print(f"left out, they only concern training: {', '.join(published.training_only())}")
    print(f"written: {options.output}")


def warn_of_unknown(program: str, path: str, keys: list[str]) -> None:
    """One line for the keys of a published configuration that mean nothing here."""
    if keys:
        cli.report(program, f"{path}: warning: not known and left out: {', '.join(keys)}")


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
