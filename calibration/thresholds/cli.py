"""`tlee-tune BUNDLE --data LIST_OR_FOLDER`."""

from __future__ import annotations

import argparse
import math

from tlee import cli
from tlee.bundle import PRECISIONS, Bundle
from tlee.calibration.arguments import add_part_arguments, data_of, parts_of, report_left_out
from tlee.errors import UsageError
from tlee.evaluation.arguments import add_data_arguments, show_written
from tlee.locks import write_lock

PROGRAM = "tlee-tune"


def command(arguments: list[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.data is None) == (options.trace is None):
        raise UsageError("videos", "named neither or twice", "give --data, or the --trace of an earlier run")
    given = [name for name in ("held_out", "share", "seed") if getattr(options, name) != parser.get_default(name)]
    if options.trace is not None and given:
        problem = f"--{given[0].replace('_', '-')} given with --trace, which has its own"
        raise UsageError("videos", problem, "leave it out, or record again with --data")
    budgets = [name for name in ("max_macs", "max_ms", "max_mj") if getattr(options, name) is not None]
    if len(budgets) > 1:
        raise UsageError("target", "limits costs of several kinds", "give one of --max-macs, --max-ms and --max-mj")
    if options.max_macs is not None and options.profile:
        raise UsageError("--max-macs", "given with --profile, which counts in time or energy", "leave one of them out")
    Bundle.open(options.bundle)
    with write_lock(options.bundle, folder=True):
        return _tune(options)


def _tune(options: argparse.Namespace) -> int:
    # Imported late: torch takes seconds, which --help, wrong arguments and unreadable bundles need not wait for.
    from tlee.calibration.thresholds.costs import MILLIJOULES, MILLISECONDS, metric_of
    from tlee.calibration.thresholds.points import Target
    from tlee.calibration.thresholds.report import report_of, store
    from tlee.calibration.thresholds.trace_file import load_trace, save_trace
    from tlee.calibration.thresholds.tune import Tuner
    from tlee.calibration.videos import VideoReader
    from tlee.reports.pages import report_folder, write_report
    from tlee.reports.thresholds_page import baseline_rows, page, point_rows, sentences, simulation_text, videos_text

    bundle = Bundle.open(options.bundle).sampled(options.sampling)
    unit = MILLISECONDS if options.max_ms is not None else MILLIJOULES if options.max_mj is not None else None
    metric = metric_of(bundle, options.profile, unit)
    cost = options.max_ms if options.max_mj is None else options.max_mj
    if options.max_macs is not None:
        cost = options.max_macs / 100 * metric.costs.full(bundle.frames.length)
    target = Target(options.max_accuracy_drop, options.min_accuracy, cost)
    reader = VideoReader(bundle.frames, options.workers)
    with report_folder(options.output, options.replace) as folder:
        tuner = Tuner(bundle, reader, options.precision, options.threads)
        if options.trace is not None:
            traced = load_trace(options.trace)
        else:
            parts = parts_of(PROGRAM, options, bundle)
            traced = tuner.record(parts, options.seed, data_of(options, parts))
        tuning = tuner.tune(traced, metric, target, traced.data["seed"])
        report_left_out(PROGRAM, reader)
        report = report_of(tuner, tuning, metric)
        if folder:
            write_report(folder, report, page(report))
            save_trace(folder / "trace.npz", traced)
        store(bundle, report)
        columns = "l" + 8 * "r"
        cli.show(f"{bundle.name}: {videos_text(report)}", *cli.table(point_rows(report), columns), "")
        cli.show(*sentences(report), "")
        cli.show(*cli.table(baseline_rows(report), columns), "", simulation_text(report))
    show_written(options.bundle, report=options.output)
    return cli.INPUT_FAILED if reader.unreadable else cli.OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Choose the exit rule's thresholds: find the best accuracy for every cost, and name operating "
        "points, which are written into the bundle. tlee-run --point NAME uses one.",
        epilog="Exit status: 0 all videos were used, 1 some could not be read, 2 wrong use, unreadable bundle or a "
        "target out of reach; then nothing was written.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that tlee-export wrote (NAME.tlee)")
    add_data_arguments(parser, needed=False)
    parser.add_argument("--trace", metavar="FILE", help="trace.npz of an earlier report, instead of --data")
    add_part_arguments(parser, share=None, default="0.5; of fewer than 200 videos none")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="precision of the segments (%(default)s)"
    )
    parser.add_argument("--profile", metavar="FILE", help="costs of the segments on a device, of tlee-bench")
    aim = "what the operating point `target` aims at, cross-fitted on the tuning videos"
    target = parser.add_argument_group("target", aim)
    target.add_argument("--max-accuracy-drop", type=_limit, metavar="POINTS", help="lost against no exit, at most")
    target.add_argument("--min-accuracy", type=_limit, metavar="PERCENT", help="at least")
    target.add_argument("--max-macs", type=_limit, metavar="PERCENT", help="mean share of no exit's MACs, at most")
    target.add_argument("--max-ms", type=_limit, metavar="MS", help="mean of a video, at most (needs --profile)")
    target.add_argument("--max-mj", type=_limit, metavar="MJ", help="mean of a video, at most (needs --profile)")
    return parser


def _limit(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
