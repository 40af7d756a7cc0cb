"""Arguments that tlee-calibrate and tlee-tune share: which videos to choose by, and which to report on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tlee import cli
from tlee.bundle import Bundle
from tlee.evaluation.arguments import listing_of

if TYPE_CHECKING:  # torch takes seconds
    from tlee.calibration.videos import Parts, VideoReader


SHARE = 0.5  # of the videos that is held out


def add_part_arguments(parser: argparse.ArgumentParser, share: float | None = SHARE, default: str = str(SHARE)) -> None:
    """How the videos of `--data` are divided; `share` None where fewer than `tlee.calibration.videos.FEW` are not."""
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument("--held-out", metavar="PATH", help="report on these videos, instead of a share of --data")
    held_out.add_argument(
        "--share", type=float, default=share, metavar="X", help=f"of --data, to report on, not to choose by ({default})"
    )
    parser.add_argument("--seed", type=cli.natural, default=0, metavar="N", help="of all that is drawn (%(default)s)")


def parts_of(program: str, options: argparse.Namespace, bundle: Bundle) -> Parts:
    """The videos that the arguments name, divided. Raises UsageError, see `divide` and `listing_of`."""
    from tlee.calibration.videos import FEW, divide, undivided

    listing = listing_of(program, options, options.data)
    held_out = listing_of(program, options, options.held_out) if options.held_out else None
    if held_out is None and options.share is None and len(listing.entries) < FEW:
        return undivided(listing, bundle.labels, bundle.path)
    share = SHARE if options.share is None else options.share
    return divide(listing, held_out, bundle.labels, bundle.path, share, options.seed)


def data_of(options: argparse.Namespace, parts: Parts | None = None) -> dict[str, Any]:
    """The source of the videos, plain values for a report; `share` 0 where none was held out."""
    own = {key: getattr(options, key) for key in ("format", "split", "held_out", "seed")}
    share = (SHARE if options.share is None else options.share) if parts is None or parts.held_out.entries else 0.0
    return {"source": options.data, "share": None if options.held_out else share, **own}


def report_left_out(program: str, reader: VideoReader) -> None:
    """A line for each video that could not be read, and one for those that are in both parts."""
    for error in reader.unreadable.values():
        cli.report(program, error)
    if reader.repeated:
        count, first = len(reader.repeated), min(map(str, reader.repeated))
        cli.report(program, f"held-out videos left out, with the frames of a tuning video: {count} (first: {first})")
