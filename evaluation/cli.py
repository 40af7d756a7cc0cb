"""`tlee-eval CHECKPOINT_OR_BUNDLE --data LIST_OR_FOLDER`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from tlee import cli
from tlee.bundle import PRECISIONS, Bundle
from tlee.errors import UsageError
from tlee.evaluation.arguments import add_data_arguments, listing_of, show_written
from tlee.frames import sample_indices

PROGRAM = "tlee-eval"


def command(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if os.path.isdir(options.subject):
        Bundle.open(options.subject)

    # Imported here: torch takes seconds, and --help, wrong arguments and bundles that are none need not wait for it.
    from tlee.evaluation.evaluate import evaluate
    from tlee.evaluation.evaluated import open_model
    from tlee.evaluation.report import report_of, video_lines
    from tlee.models.published_config import load_model_config, warn
    from tlee.reports.evaluation_page import findings, mode_rows, page
    from tlee.reports.pages import report_folder, write_report

    if not options.data:
        _take_published_videos(options)
    listing = listing_of(PROGRAM, options, options.data)
    total = len(listing.entries)
    if options.limit and options.limit < total:
        listing = replace(listing, entries=[listing.entries[i] for i in sample_indices(total, options.limit)])
    with report_folder(options.output, options.replace) as folder:
        config = None
        if options.config:
            config, warnings = load_model_config(options.config)
            warn(PROGRAM, options.config, warnings)
        # This process is ours: its sessions may share one pool.
        model = open_model(options.subject, config, options.point, options.threads, True, options.precision)
        model.spec = model.spec._replace(sampling=options.sampling or model.spec.sampling)
        evaluation = evaluate(model, listing, options.batch, options.workers)
        for error in evaluation.unreadable.values():
            cli.report(PROGRAM, error)
        data = {"source": options.data, "format": options.format, "split": options.split, "videos": total}
        report = report_of(evaluation, model.about(), data)
        left_out = f", {len(evaluation.unreadable)} could not be read" if evaluation.unreadable else ""
        head = f"{report['subject']['name']}: {report['videos']} videos{left_out}"
        cli.show(head, *cli.table(mode_rows(report), "l" + 8 * "r"), "", *findings(report))
        if folder:
            write_report(folder, report, page(report), {"videos.jsonl": video_lines(evaluation)})
    show_written(report=options.output)
    return cli.INPUT_FAILED if evaluation.unreadable else cli.OK


def _take_published_videos(options: argparse.Namespace) -> None:
    """Take the list of videos from a published configuration, or raise UsageError."""
    from tlee.models.config import read_yaml
    from tlee.models.published_config import as_published
    from tlee.training.published import listed_videos

    published = as_published(options.config, read_yaml(options.config)) if options.config else None
    videos = listed_videos(published) if published else {}
    if not videos.get("data"):
        remedy = "give a list or folder, or --config with a published file that names its list (data_val.path_split)"
        raise UsageError("--data", "no videos to evaluate with", remedy)
    options.data, options.format = videos["data"], videos["format"]
    options.root, options.labels = options.root or videos["root"], options.labels or videos["labels"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure accuracy and computation on labelled videos, with early exits and in other modes.",
        epilog="Exit status: 0 all videos evaluated, 1 some could not be read, 2 wrong use or unreadable model.",
    )
    parser.add_argument(
        "subject", metavar="MODEL", help=".safetensors of tlee-train, .pth.tar of the published code, or a bundle"
    )
    add_data_arguments(parser, needed=False)
    parser.add_argument("--config", metavar="FILE.yml", help="of a published checkpoint; theirs or ours")
    parser.add_argument("--point", metavar="NAME", help="use the thresholds of this operating point of a bundle")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="precision of a bundle's segments (%(default)s)"
    )
    parser.add_argument("--batch", type=cli.positive, default=8, metavar="N", help="videos held at once (%(default)s)")
    parser.add_argument("--limit", type=cli.positive, metavar="N", help="only so many videos, spread over the list")
    return parser


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
