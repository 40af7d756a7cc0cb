"""`tlee-report FILE [FILE]`: what measurements of `tlee-bench` say, on the workstation."""

import argparse
import contextlib

from tlee import cli
from tlee.bundle import PRECISIONS, Bundle
from tlee.device_profile import device_profile
from tlee.errors import UsageError
from tlee.files import atomic_write, write_json
from tlee.locks import write_lock
from tlee.reports import comparison, estimate, measurement, measurement_text
from tlee.reports.fit import BOARDS

PROGRAM = "tlee-report"


def command(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    with contextlib.ExitStack() as outputs:
        for path in filter(None, (options.json, options.page, options.profile)):
            outputs.enter_context(write_lock(path))  # before anything is computed
        if options.estimate:
            _estimate(options)
        elif len(options.files) == 1:
            _show(options)
        elif len(options.files) == 2:
            _compare(options)
        else:
            raise UsageError("files", f"{len(options.files)} were given", "give one measurement, or two to compare")
    return cli.OK


def _show(options: argparse.Namespace) -> None:
    report = measurement.load(options.files[0])
    cli.show(*measurement_text.lines(report))
    if options.json:
        write_json(options.json, report)
    if options.profile:
        write_json(options.profile, device_profile(report))
    if options.page:
        from tlee.reports import measurement_page  # matplotlib takes a second to load

        with atomic_write(options.page) as stream:
            stream.write(measurement_page.page(report))


def _compare(options: argparse.Namespace) -> None:
    _refuse(options.profile, "--profile")
    before, after = options.files
    found = comparison.compare(measurement.load(before), measurement.load(after), (before, after), options.margin)
    cli.show(*comparison.lines(found))
    if options.json:
        write_json(options.json, found)
    if options.page:
        from tlee.reports import measurement_page

        with atomic_write(options.page) as stream:
            stream.write(measurement_page.comparison_page(found))


def _estimate(options: argparse.Namespace) -> None:
    """What another device may take; where results are given, with the frames and exits that these used."""
    _refuse(options.page, "--page")
    bundle = Bundle.open(options.files[0])
    estimated = estimate.estimate(bundle, options.estimate, options.precision)
    videos = [video for path in options.files[1:] for video in estimate.read_exits(path, bundle)]
    cli.show(*estimate.lines(bundle, estimated, videos))
    if options.json:
        write_json(options.json, estimated.as_json())
    if options.profile:
        write_json(options.profile, estimate.profile(bundle, estimated))


def _refuse(value: str | None, option: str) -> None:
    if value:
        raise UsageError(option, "does not apply here", "leave it out, see tlee-report --help")


def _margin(text: str) -> float:
    value = float(text) / 100
    if not 0 <= value < 1:
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Show a measurement of tlee-bench with 95 %% intervals, compare two, or estimate what a board may "
        "take that is not here.",
        epilog="Exit status: 0 shown, 2 wrong use or unreadable file.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="one or two files of `tlee-bench --json`; to estimate, a bundle (NAME.tlee), and files of "
        "`tlee-run --json` for what those videos may take",
    )
    parser.add_argument("--page", metavar="FILE.html", help="write it as a page with plots")
    parser.add_argument("--json", metavar="FILE", help="write all numbers")
    parser.add_argument("--profile", metavar="FILE", help="write what each graph costs, for tlee-tune")
    parser.add_argument("--margin", type=_margin, default="3", metavar="PERCENT", help="that count as the same (3)")
    parser.add_argument("--estimate", metavar="BOARD", help=f"of: {', '.join(BOARDS)}")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp16", help="of the estimate (fp16)")
    return parser


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
