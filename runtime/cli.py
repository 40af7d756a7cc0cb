"""`tlee-run BUNDLE INPUT...`: recognise video files and folders of pictures."""

import argparse
import json
import sys
from contextlib import ExitStack
from typing import IO, Any, List, Optional

from tlee import cli
from tlee.bundle import PRECISIONS, Bundle
from tlee.errors import InputError
from tlee.files import whole_file
from tlee.policy import Thresholds
from tlee.runtime.recognizer import BACKENDS, Recognizer
from tlee.runtime.results import Result

PROGRAM = "tlee-run"
COLUMNS = "{:<{width}}  {:<14}  {:>6}  {:>8}  {:<8}  {:>7}  {:>7}"


def command(arguments: Optional[List[str]]) -> int:
    options = _parser().parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    recognizer = Recognizer.load(
        bundle,
        backend=options.backend,
        thresholds=_thresholds(bundle, options),
        early_exit=not options.no_early_exit,
        threads=options.threads,
        shared_pool=True,  # this process is ours
        precision=options.precision,
    )
    with ExitStack() as stack:
        lines: Optional[IO[Any]] = None
        if options.json == "-":
            lines = sys.stdout
        elif options.json:
            lines = stack.enter_context(whole_file(options.json))
        return _recognize_all(recognizer, options.inputs, lines)


def _recognize_all(recognizer: Recognizer, inputs: List[str], lines: Optional[IO[Any]]) -> int:
    status = cli.OK
    show_table = lines is not sys.stdout
    width = max(map(len, inputs))
    if show_table:
        print(COLUMNS.format("input", "label", "conf.", "frames", "exit", "share", "ms", width=width), flush=True)
    for source in inputs:
        try:
            result = recognizer.recognize(source)
        except InputError as error:
            cli.report(PROGRAM, error)
            status = cli.INPUT_FAILED
            continue
        if result.warning:
            cli.report(PROGRAM, "{}: {}".format(source, result.warning))
        if lines:
            lines.write(json.dumps(result.as_json()) + "\n")
            lines.flush()
        if show_table:
            print(_row(result, recognizer, width), flush=True)
    return status


def _row(result: Result, recognizer: Recognizer, width: int) -> str:
    tail = recognizer.bundle.exits - 1
    return COLUMNS.format(
        result.source,
        result.label,
        "{:.1%}".format(result.confidence),
        "{}/{}".format(len(result.frames), recognizer.bundle.frames.length),
        "tail" if result.exit_layer == tail else "branch{}".format(result.exit_layer),
        "{:.1%}".format(result.share),
        "{:.1f}".format(result.milliseconds),
        width=width,
    )


def _thresholds(bundle: Bundle, options: argparse.Namespace) -> Thresholds:
    chosen = bundle.thresholds(options.point).as_dict()
    for name in ("first", "layer", "gate"):
        value = getattr(options, name + "_threshold")
        if value is not None:
            chosen[name] = value[0] if len(value) == 1 else value
    return Thresholds.of(bundle.exits, **chosen)


def _numbers(text: str) -> List[float]:
    return [float(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Recognise videos with an exported bundle, stopping as early as it is sure enough.",
        epilog="share: multiply-accumulates done, of all frames run to the tail. "
        "Exit status: 0 all inputs recognised, 1 some failed, 2 wrong use or unreadable bundle.",
    )
    parser.add_argument("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="video file or folder of pictures")
    parser.add_argument("--json", metavar="FILE", help="write results as JSON Lines; - for standard output")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the segments")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="forms of the segments (%(default)s)")
    parser.add_argument("--threads", type=cli.positive, metavar="N", help="CPU threads (all cores)")
    parser.add_argument("--point", metavar="NAME", help="use the thresholds of this operating point")
    parser.add_argument("--no-early-exit", action="store_true", help="run every frame to the tail")
    for name, meaning in (
        ("first", "confidence above which the first frame answers"),
        ("layer", "confidence above which a frame leaves the backbone"),
        ("gate", "gate score from which a later frame answers"),
    ):
        parser.add_argument(
            "--{}-threshold".format(name), type=_numbers, metavar="X[,X...]", help=meaning + ", for all exits or each"
        )
    return parser


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
