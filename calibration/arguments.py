"""Arguments that tlee-calibrate and tlee-tune share: which videos to choose by, and which to report on."""

from __future__ import annotations

import argparse
from typing import Any

from tlee import cli


def add_part_arguments(parser: argparse.ArgumentParser) -> None:
    """How the videos of `--data` are parted."""
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--held-out", metavar="PATH", help="report on these videos, instead of a share of --data")
    held_out.add_argument(
        "--share", type=float, default=0.5, metavar="X", help="of --data, to report on, not to choose by (%(default)s)"
    )
    parser.add_argument("--seed", type=cli.natural, default=0, metavar="N", help="of all that is drawn (%(default)s)")


def data_of(options: argparse.Namespace) -> dict[str, Any]:
    """Where the videos come from, plain values for a report."""
    kept = {key: getattr(options, key) for key in ("format", "split", "held_out", "seed")}
    return {"source": options.data, "share": None if options.held_out else options.share, **kept}


def report_odd(program: str, reader: Any) -> None:
    """A line for each video that could not be read, and one for those that are in both parts."""
    for error in reader.unreadable.values():
        cli.report(program, error)
    if reader.repeated:
        count, first = len(reader.repeated), min(map(str, reader.repeated))
        cli.report(program, f"held-out videos left out, with the frames of a tuning video: {count} (first: {first})")
