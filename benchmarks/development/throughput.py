"""How many more videos a second are recognised several at once than one at a time.

    python -m tlee.benchmarks.development.throughput BUNDLE.tlee VIDEO...

Both recognise all videos in turn, with the same early exits.
"""

from typing import Any, List, Optional

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.bundle import Bundle
from tlee.errors import InputError, UsageError
from tlee.runtime import BatchRecognizer, Recognizer


def time_both(single: Recognizer, several: BatchRecognizer, clips: List[Any], runs: int) -> List[List[float]]:
    """Milliseconds for all clips one at a time, and several at once."""

    def one_by_one() -> List[Any]:
        return [single.recognize(clip) for clip in clips]

    def at_once() -> List[Any]:
        return list(several.recognize(clips))

    for answer, expected in zip(at_once(), one_by_one()):
        if isinstance(answer, InputError):
            raise answer
        if any(getattr(answer, key) != getattr(expected, key) for key in ("label", "exit_frame", "exit_layer")):
            raise UsageError(expected.source, "answered otherwise in a batch", "report it as an error of the runtime")
    return timing.in_turns([one_by_one, at_once], runs, warm_up=1)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("throughput", __doc__, 20, backend=True)
    parser.add_argument("bundle")
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--batch", type=cli.positive, default=4, help="videos at once (%(default)s)")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    loading = {"backend": options.backend, "threads": options.threads, "shared_pool": True}
    several = BatchRecognizer.load(bundle, options.batch, **loading)
    with several, Recognizer.load(bundle, **loading) as single:
        title = f"videos a second, {options.batch} at once / one at a time, {single.backend}"
        report = timing.Report("throughput", title, options, ["onnxruntime", "cv2", "tensorrt"], at_most=False)
        times = time_both(single, several, options.videos, options.runs)
    rates = [[1000 * len(options.videos) / spent for spent in side] for side in times]
    parts = dict(zip(("one at a time, videos/s", "at once, videos/s"), rates))
    report.add(bundle.name, parts, timing.ratio(rates[1], rates[0]))
    report.finish()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.throughput", command)
