"""`tlee-bench BUNDLE [INPUT...]`: latency, power and energy of a bundle on this device."""

import argparse
import contextlib
import os
from typing import Any, Dict, Iterator, List, Optional

from tlee import cli, modes
from tlee.benchmarks import terminal
from tlee.benchmarks.bench import Bench, Plan
from tlee.benchmarks.profile import estimated_profile, profile
from tlee.benchmarks.report import load_report, save_report
from tlee.benchmarks.videos import Video, find_videos, synthetic_videos
from tlee.bundle import Bundle
from tlee.errors import InputError, UsageError
from tlee.files import atomic_write, write_json
from tlee.locks import write_lock
from tlee.power.sources import CHOICES
from tlee.reports import comparison as compare
from tlee.reports import estimate
from tlee.reports.fit import BOARDS
from tlee.runtime import Recognizer, Result
from tlee.runtime.backends import BackendConfig, add_backend_options
from tlee.runtime.clips import clip_request

PROGRAM = "tlee-bench"
MODES = {
    "early": modes.EARLY,
    "layer": modes.LAYER,
    "frame": modes.FRAME,
    "random": modes.RANDOM,
    "none": modes.NONE,
}


def command(arguments: Optional[List[str]]) -> int:
    options = _parsed(arguments)
    with _claimed_outputs(options):
        return _command(options)


def _command(options: argparse.Namespace) -> int:
    if options.compare:
        return _compare(options)
    if options.show:
        return _finish(options, load_report(options.show))
    if not options.bundle:
        raise UsageError("bundle", "none given", "tlee-bench NAME.tlee [INPUT...]")
    bundle = Bundle.open(options.bundle)
    return _estimate(options, bundle) if options.estimate else _measure(options, bundle)


def _measure(options: argparse.Namespace, bundle: Bundle) -> int:
    found = find_videos(options.inputs, bundle.labels) if options.inputs else synthetic_videos(bundle)
    videos = [video for video in found if _readable(video, bundle)]
    if not videos:
        return cli.INPUT_FAILED
    status = cli.StatusLine()
    bench = Bench(bundle, _choice(options), videos, _plan(options), status.show)
    try:
        report = bench.run()
    finally:
        status.clear()
    for note in bench.notes:
        cli.report(PROGRAM, note)
    if bench.interrupted:
        kept = _spare(options)
        _finish(options, report)
        said = "; as before: {}".format(", ".join(kept)) if kept else ""
        cli.report(PROGRAM, f"interrupted, this is what was measured until then{said}")
        return cli.INTERRUPTED
    return _finish(options, report) or (cli.OK if len(videos) == len(found) else cli.INPUT_FAILED)


def _estimate(options: argparse.Namespace, bundle: Bundle) -> int:
    """What another device may take; where videos are given, with the frames and exits that they use."""
    estimated = estimate.estimate(bundle, options.estimate, options.precision)
    videos = find_videos(options.inputs, bundle.labels)
    results = _results(options, bundle, videos) if videos else []
    cli.show(*estimate.lines(bundle, estimated, results))
    if options.json:
        write_json(options.json, estimated.as_json())
    if options.profile:
        write_json(options.profile, estimated_profile(bundle, estimated))
    return cli.OK if len(results) == len(videos) else cli.INPUT_FAILED


def _results(options: argparse.Namespace, bundle: Bundle, videos: List[Video]) -> List[Result]:
    """What becomes of videos with early exits, wherever it is computed. Those that cannot be read are reported."""
    point = options.point[0] if options.point else None
    results = []
    with Recognizer.load(bundle, options.backend, point=point, threads=options.threads, shared_pool=True) as recognizer:
        for video in videos:
            try:
                results.append(recognizer.recognize(video.clip))
            except InputError as error:
                cli.report(PROGRAM, error)
    return results


def _readable(video: Video, bundle: Bundle) -> bool:
    """Whether all frames of it can be read; if not, that is reported."""
    try:
        for _ in clip_request(video.clip, bundle.frames).frames:
            pass
    except InputError as error:
        cli.report(PROGRAM, error)
        return False
    return True


def _choice(options: argparse.Namespace) -> BackendConfig:
    common = (options.backend, options.exit_graphs, options.precision or "fp32", options.engine_dir, options.threads)
    return BackendConfig(*common, shared_pool=True)  # this process is ours


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        modes=[MODES[key] for key in options.modes],
        points=options.point or [None],
        plain=Bundle.open(options.plain) if options.plain else None,
        rounds=options.rounds,
        block=options.block,
        cold=options.cold,
        sustained=options.sustained,
        power=options.power,
    )


def _finish(options: argparse.Namespace, report: Dict[str, Any]) -> int:
    """Show a report, and write what was asked for, whatever becomes of the others: a measurement took long."""
    cli.show(*terminal.lines(report))
    writers = [(options.json, save_report), (options.page, _save_page), (options.profile, _save_profile)]
    failed = cli.OK
    for path, write in writers:
        try:
            if path:
                write(path, report)
        except UsageError as error:
            cli.report(PROGRAM, error)
            failed = cli.WRONG_USE
    return failed


def _spare(options: argparse.Namespace) -> List[str]:
    """Leave earlier files, of a measurement that may have come to its end, to a part of one. Returns their names."""
    spared = []
    for name in ("json", "page", "profile"):
        path = getattr(options, name)
        if path and os.path.isfile(path):
            spared.append(path)
            setattr(options, name, None)
    return spared


def _save_page(path: str, report: Dict[str, Any]) -> None:
    from tlee.reports.measurement_page import page  # matplotlib takes a second to load, and may be missing

    _write(path, page(report))


def _save_profile(path: str, report: Dict[str, Any]) -> None:
    write_json(path, profile(report))


def _compare(options: argparse.Namespace) -> int:
    before, after = options.compare
    found = compare.compare(load_report(before), load_report(after), (before, after), options.margin)
    cli.show(*compare.lines(found))
    if options.json:
        write_json(options.json, found)
    if options.page:
        from tlee.reports.measurement_page import comparison_page

        _write(options.page, comparison_page(found))
    return cli.OK


def _write(path: str, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)


@contextlib.contextmanager
def _claimed_outputs(options: argparse.Namespace) -> Iterator[None]:
    """Before anything is measured."""
    if options.page:
        try:
            import matplotlib  # noqa: F401
        except ImportError:
            remedy = "apt install python3-matplotlib or pip install matplotlib; or draw it elsewhere: tlee-bench --show"
            raise UsageError("--page", "matplotlib is not installed", remedy) from None
    with contextlib.ExitStack() as outputs:
        for path in (options.json, options.page, options.profile):
            if path:
                outputs.enter_context(write_lock(path))
        yield


def _keys(text: str) -> List[str]:
    keys = text.split(",")
    if not all(key in MODES for key in keys):
        raise ValueError
    return keys


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 86400:
        raise ValueError
    return value


def _margin(text: str) -> float:
    value = float(text) / 100
    if not 0 <= value < 1:
        raise ValueError
    return value


def _parsed(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    unknown = [text for text in more if text.startswith("-")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}")
    options.inputs += more  # behind options, which argparse takes to end a list that may be empty
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure latency, power and energy of a bundle on this device, in several modes by turns; compare "
        "two measurements.",
        epilog="Exit status: 0 measured, 1 some inputs could not be read, 2 wrong use or unreadable bundle, "
        "130 interrupted (what was measured until then is reported).",
    )
    parser.add_argument("bundle", nargs="?", help="folder that tlee-export wrote (NAME.tlee)")
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="video file, folder of pictures, or folder of these, by class for the accuracy; noise without any",
    )
    what = parser.add_argument_group("instead of measuring")
    what.add_argument("--compare", nargs=2, metavar=("A.json", "B.json"), help="what two reports differ in")
    what.add_argument("--margin", type=_margin, default="3", metavar="PERCENT", help="that count as the same (3)")
    what.add_argument(
        "--estimate",
        metavar="BOARD",
        help="what a board may take that is not here, of: {} (fp16 without --precision)".format(", ".join(BOARDS)),
    )
    what.add_argument("--show", metavar="REPORT.json", help="a report again, for instance with --page")
    results = parser.add_argument_group("results")
    results.add_argument("--json", metavar="FILE", help="write the report with all raw samples")
    results.add_argument("--page", metavar="FILE.html", help="write it as a page with plots (needs matplotlib)")
    results.add_argument("--profile", metavar="FILE", help="write what each graph costs here, for tlee-tune")
    load = parser.add_argument_group("what is measured")
    load.add_argument(
        "--modes", type=_keys, default=",".join(MODES), metavar="KEY[,KEY...]", help="of these (%(default)s)"
    )
    load.add_argument("--point", action="append", metavar="NAME", help="operating point; may be repeated")
    load.add_argument("--plain", metavar="PLAIN.tlee", help="also the plain backbone, of tlee-export --plain")
    load.add_argument("--rounds", type=cli.positive, default=10, help="blocks of each mode, in turns (%(default)s)")
    load.add_argument(
        "--block", type=_seconds, metavar="SECONDS", help="of a block (1, or what sampling of power needs)"
    )
    load.add_argument("--cold", type=cli.natural, default=5, metavar="N", help="starts of new processes (%(default)s)")
    load.add_argument(
        "--sustained", type=_seconds, default=10.0, metavar="SECONDS", help="without a pause (%(default)g)"
    )
    load.add_argument("--power", choices=CHOICES, default="auto", help="what measures it (%(default)s)")
    add_backend_options(parser)
    parser.set_defaults(precision=None)  # an estimate's is another
    return parser


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
