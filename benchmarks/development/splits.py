"""What each backbone costs, split by split: the table in docs/backbones.md.

    python -m tlee.benchmarks.development.splits --write docs/backbones.md $(python -m tlee.export.backbone --list)

Every backbone is exported at full size with random weights and three branches; its splits are timed one after the other
on one frame.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from typing import List, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.bundle import Bundle
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend

WARM_UP = 3
HEAD = ["backbone", "maps", "parameters, M", "GMACs to each exit", "splits, MB", "branches, MB", "tail, MB"]
HEAD += ["export, s", "ms"]
BEGIN, END = "<!-- splits -->\n", "<!-- /splits -->\n"


def median_split_times(bundles: List[Bundle], runs: int, threads: Optional[int]) -> List[List[float]]:
    """Median milliseconds of each split of each bundle. They take turns: a slow phase of the machine hits all."""
    chains = [Chain(bundle, OnnxBackend(bundle, threads, shared_pool=True)) for bundle in bundles]
    shapes = [(bundle.frames.crop, bundle.frames.crop, 3) for bundle in bundles]
    frames = [chain.load(np.zeros(shape, np.float32)) for chain, shape in zip(chains, shapes)]
    times: List[List[List[float]]] = [[[] for _ in range(bundle.exits)] for bundle in bundles]
    for _ in range(WARM_UP + runs):
        for chain, x, of_splits in zip(chains, frames, times):
            for b, of_split in enumerate(of_splits):
                start = time.perf_counter()
                x = chain.split(b, x)
                of_split.append(1000 * (time.perf_counter() - start))
    return [[statistics.median(t[WARM_UP:]) for t in of_splits] for of_splits in times]


def row(bundle: Bundle, milliseconds: List[float]) -> List[str]:
    """A bundle as a line of the table."""
    manifest = bundle.manifest

    def megabytes(kind: str, count: int) -> str:
        names = [f"{kind}{b}" for b in range(count)] if count else [kind]
        sizes = [manifest["files"][bundle.segments[name].file]["size"] for name in names]
        return _several([size / 1e6 for size in sizes], 1)

    splits = [manifest["segments"][f"split{b}"] for b in range(bundle.exits)]
    return [
        bundle.name,
        " / ".join("{1} x {2}²".format(*split["outputs"][0]["shape"]) for split in splits),
        f"{manifest['exits'][-1]['parameters'] / 1e6:.1f}",
        _several([costs["backbone_macs"] / 1e9 for costs in manifest["exits"]], 3),
        megabytes("split", bundle.exits),
        megabytes("branch", bundle.exits - 1),
        megabytes("tail", 0),
        f"{manifest['provenance']['seconds']:.0f}",
        _several(milliseconds, 1),
    ]


def _several(numbers: List[float], digits: int) -> str:
    return " / ".join(f"{number:.{digits}f}" for number in numbers)


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(prog="tlee.benchmarks.development.splits", description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="+", metavar="BACKBONE")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--write", metavar="FILE.md", help="put the table between the file's markers")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.backbones:
            print(f"exporting {name}", flush=True)
            timing.export_backbone(name, folder)
        bundles = [Bundle.open(os.path.join(folder, name + ".tlee")) for name in options.backbones]
        print("measuring", flush=True)
        rows = [row(*pair) for pair in zip(bundles, median_split_times(bundles, options.runs, options.threads))]
    rows.insert(0, HEAD)
    print("\n".join(cli.table(rows)))
    lines = timing.markdown(rows)
    place = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, ONNX Runtime on the CPU"
    lines += ["", f"{place}, medians of {options.runs} runs taken in turns."]
    if options.write:
        timing.write_between(options.write, BEGIN, END, lines)


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.splits", command)
