"""`tlee-bench BUNDLE [INPUT...]`: latency, power and energy of a bundle on this device."""

import argparse
import contextlib
import json
import os
from typing import Any, Dict, List, Optional, Sequence

from tlee import cli, modes
from tlee.benchmarks import terminal
from tlee.benchmarks.bench import Bench, Plan
from tlee.benchmarks.videos import find_videos, synthetic_videos
from tlee.bundle import Bundle
from tlee.data.sampling import add_sampling_option
from tlee.device_profile import device_profile
from tlee.errors import InputError, UsageError
from tlee.files import atomic_write, write_json
from tlee.locks import write_lock
from tlee.power.sources import CHOICES
from tlee.runtime.backends import BackendConfig, add_backend_options

PROGRAM = "tlee-bench"
MODES = {"early": modes.EARLY, "layer": modes.LAYER, "frame": modes.FRAME, "random": modes.RANDOM}
MODES.update(one=modes.ONE, three=modes.THREE, none=modes.NONE)


def command(arguments: Optional[List[str]]) -> int:
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    unknown = [text for text in more if text.startswith("-")]
    if unknown:
        parser.error(f"unknown option {unknown[0]}")
    options.inputs += more  # inputs after options: argparse ends a list that may be empty at the first option
    with contextlib.ExitStack() as outputs:
        for path in filter(None, (options.json, options.profile)):
            outputs.enter_context(write_lock(path))  # before anything is measured
        return _measure(options, Bundle.open(options.bundle).sampled(options.sampling))


def _measure(options: argparse.Namespace, bundle: Bundle) -> int:
    videos = find_videos(options.inputs, bundle.labels) if options.inputs else synthetic_videos(bundle)
    status = cli.StatusLine()
    plan = Plan(
        modes=[MODES[key] for key in options.modes],
        points=options.point or [None],
        plain=Bundle.open(options.plain).sampled(options.sampling) if options.plain else None,
        **{key: getattr(options, key) for key in ("rounds", "block", "cold", "sustained", "power")},
    )
    bench = Bench(bundle, BackendConfig.from_options(options), videos, plan, status.show)
    try:
        report = bench.run()
    except InputError:  # the last one of those that are reported now
        report = None
    finally:
        status.clear()
        for failure in bench.unreadable:
            cli.report(PROGRAM, failure)
    if report is None:
        return cli.INPUT_FAILED
    for note in bench.notes:
        cli.report(PROGRAM, note)
    if bench.interrupted:  # no file of an earlier measurement is overwritten, which may be complete
        kept = [path for path in (options.json, options.profile) if path and os.path.isfile(path)]
        _finish(options, report, kept)
        said = f"; as before: {', '.join(kept)}" if kept else ""
        cli.report(PROGRAM, f"interrupted, this is what was measured until then{said}")
        return cli.INTERRUPTED
    return _finish(options, report) or (cli.INPUT_FAILED if bench.unreadable else cli.OK)


def _finish(options: argparse.Namespace, report: Dict[str, Any], kept: Sequence[str] = ()) -> int:
    """Show a report, and write each file that was asked for even if another fails: a measurement took long."""
    cli.show(*terminal.lines(report))
    failed = cli.OK
    for path, write in ((options.json, _save), (options.profile, _save_profile)):
        try:
            if path and path not in kept:
                write(path, report)
        except UsageError as error:
            cli.report(PROGRAM, error)
            failed = cli.WRONG_USE
    return failed


def _save(path: str, report: Dict[str, Any]) -> None:
    with atomic_write(path) as stream:  # without line breaks: it is raw samples for the most part
        json.dump(report, stream, sort_keys=True, allow_nan=False, ensure_ascii=False)


def _save_profile(path: str, report: Dict[str, Any]) -> None:
    write_json(path, device_profile(report))


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure latency, power and energy of a bundle on this device, in several modes by turns. On a "
        "workstation, tlee-report says what the numbers are worth, draws and compares them.",
        epilog="Exit status: 0 measured, 1 some inputs could not be read, 2 wrong use or unreadable bundle, "
        "130 interrupted (what was measured until then is reported).",
    )
    parser.add_argument("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="video file, folder of pictures, or folder of these, by class for the accuracy; noise without any",
    )
    results = parser.add_argument_group("results")
    results.add_argument("--json", metavar="FILE", help="write all raw samples, for tlee-report")
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
    add_sampling_option(parser)
    add_backend_options(parser)
    return parser


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
