"""What measuring costs: recognitions as `tlee-bench` measures them, against the same ones unwatched.

    python -m tlee.benchmarks.development.overhead BUNDLE.tlee VIDEO...

Watched, each step of a recognition is timed and power is sampled, where the machine shows it; unwatched, nothing is.
"""

from time import perf_counter
from typing import Any, Callable, List, Optional, Sequence

from tlee import cli, modes
from tlee.benchmarks.bench import LIBRARIES
from tlee.benchmarks.development import timing
from tlee.benchmarks.modes import Mode, chosen_modes
from tlee.benchmarks.power.recorder import Recorder
from tlee.benchmarks.power.sources import CHOICES, open_source
from tlee.benchmarks.videos import Video, find_videos
from tlee.bundle import Bundle
from tlee.runtime import Recognizer
from tlee.runtime.backends import AUTO, BACKENDS, Choice, Opened, open_backend
from tlee.runtime.chain import chain_of

GOAL = 1.02
NONE = "none"  # of `tlee.benchmarks.power.sources`
SECONDS = 1.0  # of a turn with power, at least; without, one pass over the videos: the more turns, the less noise


def measure(mode: Mode, opened: Opened, videos: Sequence[Video], power: str, runs: int) -> List[List[float]]:
    """Milliseconds of a video, watched and unwatched, of so many turns each."""
    chain = chain_of(mode.bundle, opened.backend, opened.units)
    times: List[List[float]] = [[], []]
    with Recognizer(mode.bundle, chain, mode.policy, prefetch=mode.beside) as recognizer:
        for i in range(runs + 1):  # the first turn warms up
            for k in (0, 1) if i % 2 else (1, 0):
                spent = unwatched(recognizer, videos, power) if k else watched(mode, videos, power)
                if i:
                    times[k].append(spent)
    return times


def watched(mode: Mode, videos: Sequence[Video], power: str) -> float:
    """Milliseconds of a video, measured as `tlee-bench` does; opening what measures power does not count."""
    mode.chain.reset()
    with Recorder(open_source(power)[0], perf_counter()):
        return _turn(mode.recognize, videos, power)


def unwatched(recognizer: Recognizer, videos: Sequence[Video], power: str) -> float:
    """Milliseconds of a video."""
    return _turn(lambda video: recognizer.recognize(video.clip), videos, power)


def _turn(recognize: Callable[[Video], Any], videos: Sequence[Video], power: str) -> float:
    seconds = 0 if power == NONE else SECONDS
    start, passes = perf_counter(), 0
    while not passes or perf_counter() < start + seconds:
        for video in videos:
            recognize(video)
        passes += 1
    return 1000 * (perf_counter() - start) / (passes * len(videos))


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("overhead", __doc__, 200)
    parser.add_argument("bundle")
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--backend", choices=BACKENDS, default=AUTO, help="what computes (%(default)s)")
    parser.add_argument("--power", choices=CHOICES, default="auto", help="what measures it (%(default)s)")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    videos = find_videos(options.videos, bundle.labels)
    opened = open_backend(bundle, Choice(options.backend, threads=options.threads, shared_pool=True))
    source, _ = open_source(options.power)
    power = source.name if source else NONE
    if source:
        source.close()
    title = "watched / unwatched, {}, power: {}".format(opened.backend.name, power)
    report = timing.Report("overhead", title, options, LIBRARIES)
    for mode in chosen_modes(bundle, opened, [modes.EARLY, modes.NONE], [None]):
        times = measure(mode, opened, videos, power, options.runs)
        report.add(mode.name, dict(zip(("watched, ms", "unwatched, ms"), times)), timing.ratio(*times), GOAL)
        mode.close()
    report.finish()
    opened.backend.close()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.overhead", command)
