"""Arguments that commands on labelled videos share."""

from __future__ import annotations

import argparse
import os

from tlee import cli
from tlee.data.labelled.listing import FORMATS, Listing, read_listing
from tlee.data.sampling import add_sampling_option

WORKERS = min(4, os.cpu_count() or 1)


def add_data_arguments(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    """Videos and which frames of them, processes and threads, and the report."""
    parser.add_argument("--data", required=needed, metavar="PATH", help="list of videos, or a folder per class")
    parser.add_argument("--format", choices=FORMATS, default="folders", help="what the list is (%(default)s)")
    parser.add_argument("--root", metavar="DIR", help="where the list's paths start (the list's own folder)")
    parser.add_argument("--labels", metavar="FILE", help="names of the classes, where the list has none")
    parser.add_argument(
        "--split", choices=("train", "val"), default="val", help="of a list that holds several (%(default)s)"
    )
    add_sampling_option(parser)
    parser.add_argument(
        "--workers", type=cli.natural, default=WORKERS, metavar="N", help="processes that decode (%(default)s)"
    )
    parser.add_argument("--threads", type=cli.positive, metavar="N", help="CPU threads that compute (all cores)")
    parser.add_argument("-o", "--output", metavar="DIR", help="write a report: report.json, index.html and more")
    parser.add_argument("--replace", action="store_true", help="replace the report if it exists")


def listing_of(program: str, options: argparse.Namespace, source: str) -> Listing:
    """The list of videos that the arguments describe, read from `source`; its oddities are reported.

    Raises:
        UsageError: as `read_listing`.
    """
    listing = read_listing(options.format, source, options.root, options.labels, options.split)
    for note in listing.notes:
        cli.report(program, f"{source}: {note}")
    return listing


def show_written(*paths: str, report: str | None) -> None:
    """Say which files were written, the report's page among them if there is a report."""
    pages = [os.path.join(report, "index.html")] if report else []
    if paths or pages:
        cli.show("written: " + ", ".join([*paths, *pages]))
