"""What measuring costs: recognitions with every step timed against the same ones untimed, and sampling of power.

    python -m tlee.benchmarks.development.overhead BUNDLE.tlee VIDEO...

What sampling takes of the processor is read from the system: turns with and without it differ by less than turns do
among themselves.
"""

import itertools
import os
import statistics
import time
from typing import List, Optional, Sequence

from tlee import cli, modes
from tlee.benchmarks.bench import LIBRARIES
from tlee.benchmarks.development import timing
from tlee.benchmarks.modes import Mode, chosen_modes
from tlee.benchmarks.videos import Video, find_videos
from tlee.bundle import Bundle
from tlee.power.recorder import Recorder
from tlee.power.source import Source
from tlee.power.sources import CHOICES, open_source
from tlee.runtime import Recognizer
from tlee.runtime.backends import BackendConfig, BackendHandle, open_backend
from tlee.runtime.chain import chain_of

GOAL = 1.02
CORES = 0.02  # goal of sampling
SETTLED = 10.0  # seconds after which a source has started
WINDOW, WINDOWS = 5.0, 6  # seconds, in which sampling is watched


def timed(mode: Mode, opened: BackendHandle, videos: Sequence[Video], runs: int) -> List[List[float]]:
    """Milliseconds of one video after the other, with every step timed and without, in turns."""
    chain = chain_of(mode.bundle, opened.backend, opened.exit_graphs)
    with Recognizer(mode.bundle, chain, mode.policy, prefetch=mode.is_async) as recognizer:
        first, second = itertools.cycle(videos), itertools.cycle(videos)
        functions = [lambda: mode.recognize(next(first)), lambda: recognizer.recognize(next(second).clip)]
        return timing.in_turns(functions, runs, warm_up=len(videos))


def sampling(source: Source) -> List[float]:
    """Cores that a source's readings keep busy in this process and its children, in each of some windows."""
    shares = []
    with Recorder(source, time.perf_counter()):
        time.sleep(SETTLED)
        for _ in range(WINDOWS):
            start, spent = time.perf_counter(), _processor_seconds()
            time.sleep(WINDOW)
            shares.append((_processor_seconds() - spent) / (time.perf_counter() - start))
    return shares


def _processor_seconds() -> float:
    """That this process and its living children took so far."""
    ticks = 0
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{int(name)}/stat", encoding="utf-8") as stream:
                fields = stream.read().rsplit(")", 1)[1].split()
        except (ValueError, OSError):  # no process, or one that has just ended
            continue
        if int(fields[1]) == os.getpid():
            ticks += sum(map(int, fields[11:15]))  # its own and its children's, see proc(5)
    return time.process_time() + ticks / float(os.sysconf("SC_CLK_TCK"))


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("overhead", __doc__, 2000, backend=True)
    parser.add_argument("bundle")
    parser.add_argument("videos", nargs="+", metavar="VIDEO")
    parser.add_argument("--power", choices=CHOICES, default="auto", help="what measures it (%(default)s)")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    videos = find_videos(options.videos, bundle.labels)
    source, _ = open_source(options.power)
    shares = sampling(source) if source else []
    opened = open_backend(bundle, BackendConfig(options.backend, threads=options.threads, shared_pool=True))
    report = timing.Report("overhead", f"timed / untimed, {opened.backend.name}", options, LIBRARIES)
    for mode in chosen_modes(bundle, opened, [modes.EARLY, modes.NONE], [None]):
        times = timed(mode, opened, videos, options.runs)
        report.add(mode.name, dict(zip(("timed, ms", "untimed, ms"), times)), timing.ratio(*times), GOAL)
        mode.close()
    report.finish()
    if source:
        taken = f"{statistics.median(shares):.4f} cores (median of {WINDOWS} times {WINDOW:g} s)"
        print(f"sampling of power by {source.name} takes {taken}, goal at most {CORES:g}")
    opened.backend.close()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.overhead", command)
