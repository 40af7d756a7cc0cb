"""How much faster the runtime is than the same model in PyTorch.

    python -m tlee.benchmarks.development.pytorch

A whole video, every frame to the tail through every exit, on as many threads. Each side has a process of its own, since
the threads of both spin while they wait; the processes take turns. Of two clips in a row the second is timed: the first
wakes threads up and fills caches that the other process has used. For a workstation: it needs PyTorch.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.benchmarks.graphs import no_stop
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.inference import exit_steps
from tlee.runtime import Recognizer

GOALS = {"mobilenetv2": 3.0, "resnet50": 1.6}
PAUSE = 0.05  # seconds in which the other process's threads fall asleep
WARM_UP = 3
IN_A_ROW = 2
TOLERANCE = 1e-3


@contextlib.contextmanager
def eager(checkpoint: str, threads: Optional[int]) -> Iterator[Callable[[], Dict[str, Any]]]:
    """PyTorch in another process: a function that returns its answer to the next clip, milliseconds, confidence and the
    release of PyTorch."""
    command = [sys.executable, "-m", "tlee.benchmarks.development.pytorch", "--serve", checkpoint]
    if threads:
        command += ["--threads", str(threads)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True) as process:

        def recognize() -> Dict[str, Any]:
            print("clip", file=process.stdin, flush=True)
            line = process.stdout.readline()  # type: ignore
            if not line:
                raise UsageError("PyTorch", "its process ended early", "see what it printed above")
            return dict(json.loads(line))

        yield recognize


def clip_of(frames: int, size: int) -> np.ndarray:
    """The same clip in both processes."""
    return np.random.RandomState(0).randint(0, 256, (frames, size, size, 3)).astype(np.uint8)


def serve(checkpoint: str, threads: Optional[int]) -> None:
    """Recognise a clip for every line on standard input."""
    # imported here: PyTorch may not be installed
    import torch

    from tlee.models.checkpoint import load_checkpoint
    from tlee.models.model import TorchStages

    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    model = load_checkpoint(checkpoint)
    frames = model.config.frames.count
    stages, clip = TorchStages(model), clip_of(frames, model.config.model.input_size)
    policy = no_stop(frames, model.exits)
    for _ in sys.stdin:
        for _ in range(IN_A_ROW):
            start = time.perf_counter()
            *_, last = exit_steps(stages, clip, policy)
            spent = 1000 * (time.perf_counter() - start)
        answer = {"milliseconds": spent, "confidence": last.values.confidence, "release": torch.__version__}
        print(json.dumps(answer), flush=True)


def time_both(bundle: Bundle, checkpoint: str, runs: int, threads: Optional[int]) -> Any:
    """Milliseconds of PyTorch and of the runtime, and PyTorch's release."""
    clip = clip_of(bundle.frames.length, bundle.frames.crop)
    thresholds = no_stop(bundle.frames.length, bundle.exits).thresholds
    ours, theirs = [], []
    loaded = Recognizer.load(bundle, "cpu", thresholds, threads=threads, shared_pool=True)
    with loaded as recognizer, eager(checkpoint, threads) as recognize_eagerly:
        for _ in range(WARM_UP + runs):
            answer = recognize_eagerly()
            time.sleep(PAUSE)
            for _ in range(IN_A_ROW):
                result = recognizer.recognize(clip)
            time.sleep(PAUSE)
            if abs(answer["confidence"] - result.confidence) > TOLERANCE * result.confidence:
                raise UsageError(checkpoint, f"computes something else than {bundle.path}", "make both anew")
            theirs.append(answer["milliseconds"])
            ours.append(result.milliseconds)
    return theirs[WARM_UP:], ours[WARM_UP:], answer["release"]


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("pytorch", __doc__, 25)
    parser.add_argument("backbones", nargs="*", default=sorted(GOALS), metavar="BACKBONE")
    parser.add_argument("--folder", metavar="FOLDER", help="with NAME.tlee and NAME.safetensors of them")
    parser.add_argument("--serve", metavar="CHECKPOINT", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve, options.threads)
        return
    report = timing.Report("pytorch", "PyTorch / runtime, no exit taken", options, ["onnxruntime"], at_most=False)
    for name, path in timing.exported(options):
        bundle = Bundle.open(path + ".tlee")
        theirs, ours, release = time_both(bundle, path + ".safetensors", options.runs, options.threads)
        report.result["versions"]["torch"] = release
        parts = {"PyTorch, ms": theirs, "runtime, ms": ours}
        report.add(name, parts, timing.ratio(theirs, ours), GOALS.get(name))
    report.finish()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.pytorch", command)
