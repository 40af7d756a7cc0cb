"""Whether a recogniser that runs for long holds on to memory or files.

    python -m tlee.benchmarks.development.memory digits.tlee examples/clips/*.mp4 --plot memory.svg

One process recognises clip after clip, two thirds of them with early exits as in the bundle, one third without.
Resident memory and open descriptors are read after each answer. The growth is the median of those in five parts of the
run, and in each part the median slope between any two samples (Theil-Sen): a single step, as when a library starts a
thread, does not count. Exit status: 0 flat and nothing left open, 1 not.
"""

import functools
import importlib.util
import itertools
import os
import time
from typing import Any, List, NamedTuple, Optional, Sequence

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.benchmarks.videos import synthetic_videos
from tlee.bundle import Bundle
from tlee.errors import InputError, UsageError, writing
from tlee.files import write_json
from tlee.runtime.batch import BatchRecognizer
from tlee.runtime.recognizer import Recognizer

WARM_UP = 50  # recognitions, beside those that are counted
PARTS = 5  # of a run
FLAT = 1.0  # MB per 1000 recognitions
TURN = 4  # clips for each place of a batch, between one recogniser and the other
PATIENCE = 2.0  # seconds for files that are closed by other threads
BLUE, ORANGE = "#0072B2", "#D55E00"


class Measured(NamedTuple):
    """What the recognitions held: resident memory in MB and descriptors after each, the warm-up's first, and how many
    descriptors more are open at the end than after the warm-up."""

    resident: List[float]
    descriptors: List[int]
    left: int

    @property
    def growth(self) -> float:
        """MB per 1000 recognitions, after the warm-up."""
        return 1000 * slope(self.resident[WARM_UP:])

    @property
    def flat(self) -> bool:
        return self.growth < FLAT and self.left <= 0


def memory_over_runs(recognizers: Sequence[Any], clips: Sequence[Any], runs: int, batch: int = 1) -> Measured:
    """Recognise clips in turn; every third turn is the second recogniser's."""
    turn = batch * TURN if batch > 1 else 1
    samples = np.zeros((WARM_UP + runs, 2))  # there before anything is measured
    source, i = itertools.cycle(clips), 0
    for count in (WARM_UP, runs):
        before = descriptors()
        for start in range(0, count, turn):
            recognizer = recognizers[start // turn % 3 == 2]
            some = list(itertools.islice(source, min(turn, count - start)))
            for answer in recognizer.recognize(some) if turn > 1 else map(recognizer.recognize, some):
                if isinstance(answer, InputError):
                    raise answer
                samples[i] = resident(), descriptors()
                i += 1
        end = time.monotonic() + PATIENCE
        while descriptors() > before and time.monotonic() < end:
            time.sleep(0.01)
        left = descriptors() - before
    return Measured(samples[:, 0].tolist(), samples[:, 1].astype(int).tolist(), left)


def resident() -> float:
    """This process's resident memory, MB."""
    with open("/proc/self/status") as stream:
        line = next(line for line in stream if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024.0


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1  # one of them reads this


def slope(values: Sequence[float]) -> float:
    """How much they grow from one to the next, robustly.

    Examples:
        >>> slope([float(i // 4) for i in range(100)]), slope([5.0] * 50 + [9.0] * 50)
        (0.25, 0.0)
    """
    slopes = []
    for part in np.array_split(np.asarray(values), PARTS):
        i, j = np.triu_indices(len(part), 1)
        slopes.append(np.median((part[j] - part[i]) / (j - i)))
    return float(np.median(slopes))


def _plot(path: str, title: str, measured: Measured) -> None:
    from matplotlib.figure import Figure

    counts = range(1 - WARM_UP, len(measured.resident) - WARM_UP + 1)
    canvas = Figure(figsize=(8, 4.2), facecolor="white")
    canvas.suptitle(title, fontsize=10)
    memory, files = canvas.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    memory.plot(counts, measured.resident, color=BLUE, linewidth=1.2)
    memory.set_ylim(0, 1.15 * max(measured.resident))
    memory.set_ylabel("resident, MB")
    files.step(counts, measured.descriptors, where="mid", color=ORANGE, linewidth=1)
    files.set_ylim(0, 1.3 * max(measured.descriptors))
    files.set_ylabel("descriptors")
    files.set_xlabel(f"recognition, after {WARM_UP} to warm up")
    for axes in (memory, files):
        axes.axvspan(counts[0], 0, color="0.93", linewidth=0)
        axes.grid(True, axis="y", linewidth=0.5, color="0.85")
        axes.set_axisbelow(True)
    with writing(path):
        canvas.savefig(path, dpi=150, bbox_inches="tight")


def _check_plot(path: str) -> None:
    if os.path.splitext(path)[1] not in (".svg", ".png"):
        raise UsageError(path, "no kind of plot", "call it FILE.svg or FILE.png")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot", "matplotlib is not installed", "pip install matplotlib, or leave it out")


def command(arguments: Optional[List[str]]) -> int:
    parser = timing.parser("memory", __doc__, 1000, backend=True)
    parser.add_argument("bundle", help="folder that tlee-export wrote (NAME.tlee)")
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="videos, taken in turn (random frames)")
    parser.add_argument("--batch", type=cli.positive, default=1, metavar="N", help="videos at once (%(default)s)")
    parser.add_argument("--plot", metavar="FILE", help="draw all samples: FILE.svg or FILE.png")
    options = parser.parse_args(arguments)
    if options.runs < 2 * PARTS:
        parser.error(f"--runs: {options.runs} show no growth, give at least {2 * PARTS}")
    if options.plot:
        _check_plot(options.plot)  # before anything is measured
    bundle = Bundle.open(options.bundle)
    clips: List[Any] = options.clips or [video.clip for video in synthetic_videos(bundle)]
    load: Any = functools.partial(Recognizer.load, bundle)
    if options.batch > 1:
        load = functools.partial(BatchRecognizer.load, bundle, options.batch)
    common = {"backend": options.backend, "threads": options.threads, "shared_pool": True}
    recognizers = [load(early_exit=early_exit, **common) for early_exit in (True, False)]
    name = recognizers[0].backend
    measured = memory_over_runs(recognizers, clips, options.runs, options.batch)
    for recognizer in recognizers:
        recognizer.close()
    first, last = measured.resident[WARM_UP], measured.resident[-1]
    title = f"{bundle.name}, {name}, {options.runs} recognitions"
    if options.batch > 1:
        title += f", {options.batch} at once"
    print(title)
    print(f"resident memory: first {first:.1f} MB, last {last:.1f} MB")
    print(f"growth: {measured.growth:.2f} MB per 1000")
    print(f"descriptors left open: {max(0, measured.left)}")
    print("flat" if measured.flat else "not flat")
    if options.plot:
        _plot(options.plot, title, measured)
    if options.json:
        report = {"bundle": bundle.name, "backend": name, "batch": options.batch, "runs": options.runs}
        report.update(first_mb=first, last_mb=last, growth_mb_per_1000=measured.growth, flat=measured.flat)
        write_json(options.json, dict(report, **measured._asdict()))
    return cli.OK if measured.flat else cli.INPUT_FAILED


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.memory", command)
