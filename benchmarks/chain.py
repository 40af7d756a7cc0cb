"""What chaining costs: the splits of a backbone one after the other, against the same backbone as one graph.

    python -m tlee.benchmarks.chain

Both run in one process on one thread pool, in turn; the ratio is that of each pair of runs.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, List, Optional

import numpy as np

from tlee import cli
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.runtime.onnx_backend import OnnxBackend, open_session

BACKBONES = ("mobilenetv2", "resnet18")
WARM_UP = 10


def measure(bundle_path: str, graph_path: str, runs: int, threads: Optional[int]) -> List[Any]:
    """Median milliseconds of one graph and of the chain, and quartiles of the ratio of paired runs."""
    bundle = Bundle.open(bundle_path)
    if any(segment.state for segment in bundle.segments.values()):
        remedy = "compare a backbone without temporal shift"
        raise UsageError(bundle.name, "hands a state from frame to frame, which one graph does not", remedy)
    backend = OnnxBackend(bundle, threads, shared_pool=True)
    with open(graph_path, "rb") as stream:
        session = open_session(stream.read(), threads, shared_pool=True)
    size = bundle.frames.crop
    frame = backend.value(np.random.RandomState(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32))
    whole_binding = session.io_binding()
    result = session.get_outputs()[0]
    whole_output = backend.empty(result.shape)
    whole_binding.bind_ortvalue_input("frame", frame)
    whole_binding.bind_ortvalue_output(result.name, whole_output)

    def whole() -> Any:
        session.run_with_iobinding(whole_binding)
        return whole_output

    splits = ["split{}".format(b) for b in range(bundle.exits)]

    def chain() -> Any:
        x = frame
        for name in splits:
            x = backend.run(name, x)[0]
        return x

    difference = np.abs(backend.array(whole()) - backend.array(chain())).max()
    if not difference < 1e-3 * np.abs(backend.array(whole())).max():
        raise UsageError(graph_path, "computes something else than {}".format(bundle_path), "make both anew")
    wholes, chains = _paired(whole, chain, runs)
    low, middle, high = np.percentile(np.array(chains) / np.array(wholes), [25, 50, 75])
    return (
        [bundle.name, bundle.exits]
        + ["{:.2f}".format(v) for v in (statistics.median(wholes), statistics.median(chains))]
        + ["{:.3f}".format(v) for v in (middle, low, high)]
    )


def _paired(first: Callable[[], Any], second: Callable[[], Any], runs: int) -> Any:
    times: List[List[float]] = [[], []]
    for i in range(WARM_UP + runs):
        for which, function in ((0, first), (1, second)):
            start = time.perf_counter()
            function()
            if i >= WARM_UP:
                times[which].append(1000 * (time.perf_counter() - start))
    return times


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(prog="tlee.benchmarks.chain", description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="*", default=BACKBONES, metavar="BACKBONE", help="backbones to compare")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    rows = [["backbone", "splits", "one graph, ms", "chain, ms", "ratio", "25 %", "75 %"]]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.backbones:
            # In a process of its own: torch's threads would spin beside the ones that are measured.
            subprocess.check_call([sys.executable, "-m", "tlee.export.backbone", name, folder])
            path = os.path.join(folder, name)
            rows.append(measure(path + ".tlee", path + ".onnx", options.runs, options.threads))
    print("{}, {} cores, {} paired runs".format(platform.machine(), os.cpu_count(), options.runs))
    print("\n".join(cli.table(rows, "lrrrrrr")))


if __name__ == "__main__":
    cli.main("tlee.benchmarks.chain", command)
