"""`tlee-run BUNDLE INPUT...`: recognise video files, folders of pictures, cameras and streams."""

import argparse
import json
import os
import sys
from contextlib import ExitStack
from typing import IO, Any, Dict, Iterator, List, Optional

from tlee import cli
from tlee.bundle import FUSED, Bundle
from tlee.data.clips import clips_below
from tlee.data.sampling import add_sampling_option
from tlee.errors import InputError, UsageError, printable
from tlee.files import append_lines, atomic_write
from tlee.policy import Thresholds
from tlee.runtime.backends import BackendConfig, add_backend_options
from tlee.runtime.batch import Answer, BatchRecognizer
from tlee.runtime.live import LIVE
from tlee.runtime.recognizer import Recognizer

PROGRAM = "tlee-run"
COLUMNS = "{}  {}  {:>6}  {:>8}  {:<8}  {:>7}  {:>7}"  # source and label are padded already
LABEL = 14  # least width, in columns
PATIENCE = 1.5  # seconds that a camera or stream may take to return after an interrupt


def command(arguments: Optional[List[str]]) -> int:
    options = _parser().parse_args(arguments)
    count, live = len(options.inputs), sum(source.startswith(LIVE) for source in options.inputs)
    if 0 < live < count:
        raise UsageError("inputs", "files and live sources together", "give them to separate calls")
    if live > options.batch:
        raise UsageError("inputs", f"{live} live sources, {options.batch} at a time", f"add --batch {live}")
    if live and options.sampling:
        problem = "live sources are taken as they come, in no parts to choose from"
        raise UsageError("--sampling", problem, "leave it out")
    bundle = Bundle.open(options.bundle).sampled(options.sampling)
    with ExitStack() as stack:
        recognizer = stack.enter_context(_load(bundle, options))
        for note in recognizer.notes:
            cli.report(PROGRAM, note)
        inputs = list(_inputs(options.inputs))
        lines: Optional[IO[Any]] = sys.stdout if options.json == "-" else None
        if options.json and not lines:
            output = append_lines(options.json) if live else atomic_write(options.json, lines=True)
            lines = stack.enter_context(output)
        widest = max(cli.columns(printable(source)) for source in inputs)
        return _show(_answers(recognizer, inputs, options.seconds if live else None), bundle, widest, lines)


def _load(bundle: Bundle, options: argparse.Namespace) -> Any:
    thresholds: Dict[str, Any] = bundle.thresholds(options.point).as_dict()
    for name in ("first", "layer", "gate"):
        values = getattr(options, name + "_threshold")
        if values is not None:
            thresholds[name] = values[0] if len(values) == 1 else values
    common: Dict[str, Any] = BackendConfig.from_options(options)._asdict()
    common["thresholds"] = Thresholds.of(bundle.exits, **thresholds)
    common.update(early_exit=not options.no_early_exit, prefetch=not options.no_prefetch)
    if options.batch == 1:
        return Recognizer.load(bundle, speculate=not options.no_speculation, **common)
    if options.exit_graphs != FUSED:
        raise UsageError("--exit-graphs", "a batch needs fused exits", "leave --exit-graphs out")
    return BatchRecognizer.load(bundle, options.batch, **common)


def _inputs(given: List[str]) -> Iterator[str]:
    """The inputs, with the clips of a folder in its place; what of it is left out is reported."""
    for source in given:
        if source.startswith(LIVE) or not os.path.isdir(source):
            yield source
            continue
        found = clips_below(source)
        if not found.clips:
            yield source  # recognising it says what is wrong
            continue
        for what, where in (("folders without clips", found.empty), ("left out, since no clips", found.others)):
            if where:
                cli.report(PROGRAM, f"{source}: {what}: {len(where)} (first: {where[0]})")
        yield from found.clips


def _answers(recognizer: Any, inputs: List[str], live: Optional[float]) -> Iterator[Answer]:
    """Answers to inputs, of live sources for windows of so many seconds."""
    if live is not None:
        sources = inputs if isinstance(recognizer, BatchRecognizer) else inputs[0]
        try:
            yield from recognizer.stream(sources, live)
        except InputError as error:
            yield error
    elif isinstance(recognizer, BatchRecognizer):
        yield from recognizer.recognize(inputs)
    else:
        for source in inputs:
            try:
                yield recognizer.recognize(source)
            except InputError as error:
                yield error


def _show(answers: Iterator[Answer], bundle: Bundle, width: int, lines: Optional[IO[Any]]) -> int:
    status = cli.OK
    show_table = lines is not sys.stdout
    if show_table:
        print(_columns(["input", "label", "conf.", "frames", "exit", "share", "ms"], width), flush=True)
    for answer in answers:
        if isinstance(answer, InputError):
            cli.report(PROGRAM, answer)
            status = cli.INPUT_FAILED
            continue
        if answer.warning:
            cli.report(PROGRAM, f"{answer.source}: {answer.warning}")
        if lines:
            lines.write(json.dumps(answer.as_json()) + "\n")
            lines.flush()
        if show_table:
            row = [answer.source, answer.label, f"{answer.confidence:.1%}"]
            row += [f"{len(answer.frames)}/{bundle.frames.length}"]
            row += ["tail" if answer.exit_layer == bundle.exits - 1 else f"branch{answer.exit_layer}"]
            row += [f"{answer.share:.1%}", f"{answer.milliseconds:.1f}"]
            print(_columns(row, width), flush=True)
        if cli.output_failed() and lines in (None, sys.stdout):
            break  # the reader has gone
    return status


def _columns(cells: List[str], width: int) -> str:
    source, label, *numbers = map(printable, cells)
    return COLUMNS.format(cli.padded(source, width), cli.padded(label, LABEL), *numbers)


def _numbers(text: str) -> List[float]:
    return [float(part) for part in text.split(",")]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Recognise videos with an exported bundle, stopping as early as it is sure enough.",
        epilog="share: multiply-accumulates done, of all frames run to the tail. "
        "Exit status: 0 all inputs recognised, 1 some failed, 2 wrong use or unreadable bundle.",
    )
    parser.add_argument("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    help_inputs = "video file, folder of pictures, folder of such clips at any depth, or live source: "
    help_inputs += "csi://0, v4l2:///dev/video0, rtsp://..., file://..."
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=help_inputs)
    help_json = "write results as JSON Lines (of live sources: append each at once); - for standard output"
    parser.add_argument("--json", metavar="FILE", help=help_json)
    add_backend_options(parser)
    add_sampling_option(parser)
    parser.add_argument("--batch", type=cli.positive, default=1, metavar="N", help="videos at once (%(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=2.0, help="window of live sources (%(default)s)")
    parser.add_argument("--no-speculation", action="store_true", help="queue no split before it is known to be wanted")
    parser.add_argument("--no-prefetch", action="store_true", help="read no frame before it is known to be wanted")
    parser.add_argument("--point", metavar="NAME", help="use the thresholds of this operating point")
    parser.add_argument("--no-early-exit", action="store_true", help="run every frame to the tail")
    for name, meaning in (
        ("first", "confidence above which the first frame answers"),
        ("layer", "confidence above which a frame leaves the backbone"),
        ("gate", "gate score from which a later frame answers"),
    ):
        meaning += ", for all exits or each"
        parser.add_argument(f"--{name}-threshold", type=_numbers, metavar="X[,X...]", help=meaning)
    return parser


def main() -> None:
    cli.main(PROGRAM, command, PATIENCE)


if __name__ == "__main__":
    main()
