"""`tlee-calibrate BUNDLE --data LIST_OR_FOLDER`."""

from __future__ import annotations

import argparse

from tlee import cli
from tlee.bundle import Bundle
from tlee.calibration.arguments import add_part_arguments, data_of, parts_of, report_left_out
from tlee.evaluation.arguments import add_data_arguments, show_written
from tlee.locks import write_lock

PROGRAM = "tlee-calibrate"
METHODS = ("minmax", "mse", "entropy", "percentile")  # those of ranges.py, which takes seconds to import


def command(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    Bundle.open(options.bundle)
    with write_lock(options.bundle, folder=True):
        return _calibrate(options)


def _calibrate(options: argparse.Namespace) -> int:
    # Imported late: torch takes seconds, which --help, wrong arguments and unreadable bundles need not wait for.
    from tlee.calibration.int8.calibrate import Settings, calibrate, store
    from tlee.calibration.int8.plan import Targets
    from tlee.calibration.int8.report import manifest_entry, report_of
    from tlee.calibration.videos import VideoReader
    from tlee.reports.int8_page import agreement_rows, excluded_text, page, share_text, verdict_text
    from tlee.reports.pages import report_folder, write_report

    bundle = Bundle.open(options.bundle).sampled(options.sampling)
    parts = parts_of(PROGRAM, options, bundle)
    settings = Settings(
        **{name: getattr(options, name) for name in ("method", "samples", "seed", "point", "threads")},
        early_exit=not options.no_early_exit,
        targets=Targets(options.min_agreement / 100, options.max_accuracy_drop / 100),
    )
    with report_folder(options.output, options.replace) as folder:
        reader = VideoReader(bundle.frames, options.workers)
        calibration = calibrate(bundle, parts, reader, settings)
        report = report_of(bundle, calibration, reader, data_of(options))
        if folder:
            write_report(folder, report, page(report))
        store(bundle, calibration, manifest_entry(report))
        report_left_out(PROGRAM, reader)
        videos = f"{report['held_out']['videos']} held-out videos, {report['tuning']['videos']} for tuning"
        cli.show(f"{bundle.name}: {videos}", *cli.table(agreement_rows(report), "l" + 9 * "r"))
        cli.show(f"kept in higher precision: {excluded_text(report)}", share_text(report))
        topped_up = [name for name, own in report["segments"].items() if own["form"] is True and own["filled"]]
        if topped_up:
            cli.show(f"seldom reached with these exits, so sampled without them, too: {', '.join(topped_up)}")
        cli.show(verdict_text(report))
    show_written(options.bundle, report=options.output)
    return cli.INPUT_FAILED if reader.unreadable else cli.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make INT8 graphs of a bundle's segments and fused exits, exclude what is too sensitive, and "
        "measure what changes. The graphs are written into the bundle, and four frames of the videos with them.",
        epilog="Exit status: 0 all videos were used, 1 some could not be read, 2 wrong use or unreadable bundle; then "
        "nothing was written.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that tlee-export wrote (NAME.tlee)")
    add_data_arguments(parser)
    add_part_arguments(parser)
    parser.add_argument("--method", choices=METHODS, default="minmax", help="of the ranges (%(default)s)")
    parser.add_argument(
        "--samples", type=cli.positive, default=200, metavar="N", help="inputs kept of each segment (%(default)s)"
    )
    parser.add_argument("--point", metavar="NAME", help="with the thresholds of this operating point")
    parser.add_argument("--no-early-exit", action="store_true", help="take samples as if no exit were taken")
    for name, default, unit, what in (
        ("--min-agreement", 99.0, "PERCENT", "of videos that the plan has to give the label of float32"),
        ("--max-accuracy-drop", 0.5, "POINTS", "of accuracy that the plan may lose against float32"),
    ):
        parser.add_argument(name, type=_percent, default=default, metavar=unit, help=f"{what} (%(default)s)")
    return parser


def _percent(text: str) -> float:
    if not 0 <= float(text) <= 100:
        raise ValueError
    return float(text)


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
