"""A measurement as plain tables. What its numbers are worth (warm-up, intervals, doubts) is for `tlee-report`."""

from typing import Any, Dict, List, Sequence

import numpy as np

from tlee import cli
from tlee.benchmarks.timed import PARTS
from tlee.cli import number
from tlee.device_profile import millijoules

Json = Dict[str, Any]
TIMES = ["median ms", "p90", "p99"]


def lines(report: Json) -> List[str]:
    """What was measured on what, a table of modes, one of graphs, and the rest."""
    bundle, place, load, modes = (report[key] for key in ("bundle", "environment", "load", "modes"))
    what = "clips of noise" if load["synthetic"] else "videos"
    runs, rows = 0, [["mode", "frames", *TIMES, "videos/s", "mJ"]]
    for name, blocks in [(mode["name"], mode["blocks"]) for mode in modes]:
        videos, frames = sum(len(block["video"]) for block in blocks), sum(block["frames"] for block in blocks)
        rate = videos / sum(block["end"] - block["start"] for block in blocks)
        rows.append([name, f"{frames / videos:.1f}", *_times(blocks), number(rate), _energy(blocks)])
        runs += videos
    counts = f"modes: {len(modes)}; blocks of each: {len(modes[0]['blocks'])}; runs, all of them counted: {runs}"
    found = [
        f"{bundle['name']} ({bundle['backbone']}), {bundle['exits']} exits, {place['exit_graphs']}",
        f"on {place['device']}, {place['backend']}",
        f"{what}: {len(load['videos'])}; {counts}",
        _power(report["power"]),
        "",
        *cli.table(rows, "lrrrrrr"),
        "",
    ]
    if report["graphs"]:
        rows = [[graph["name"], *_times(graph["blocks"]), _energy(graph["blocks"])] for graph in report["graphs"]]
        found += [*cli.table([["graph", *TIMES, "mJ"], *rows], "lrrrr"), ""]
    return found + [f"throttled at {text}" for text in report["power"]["throttled"]] + _others(report)


def _power(power: Json) -> str:
    if power["source"] == "none":
        return f"power: not measured ({power['reason']})"
    idle = power["idle"] and f"{power['idle']['watts']:.2f} W at rest"
    return "; ".join(filter(None, (f"power: {power['source']}, {power['total']}", idle, power["reason"])))


def _others(report: Json) -> List[str]:
    first, cold, run = report["modes"][0], report["cold"], report["sustained"]
    means = {part: np.mean([block["parts"][part] for block in first["blocks"]]) for part in PARTS}
    parts = ", ".join(f"{part} {number(means[part])}" for part in PARTS)
    overlapped = " (frames are read while others compute)" if first["overlapped"] else ""
    found = [f"mean ms of a video, {first['name']}: {parts}{overlapped}"]
    for decision in report["decisions"]:
        median, _, p99 = _quantiles(np.concatenate(decision["milliseconds"]))
        found.append(f"decision at exit {decision['exit']}: median {median} ms, p99 {p99} ms")
    if cold:
        mean = {key: number(np.mean([start[key] for start in cold])) for key in cold[0]}
        spent = "start {start}, load {load}, first video {first}".format(**mean)
        found.append(f"cold start: first result after {mean['total']} ms ({spent}), mean of {len(cold)}")
    if run:
        seconds = run["end"] - run["start"]
        found.append(f"sustained: {len(run['times']) / seconds:.1f} videos/s, {run['name']}, over {seconds:.0f} s")
    return found


def _times(blocks: Sequence[Json]) -> List[str]:
    return _quantiles(np.concatenate([block["milliseconds"] for block in blocks]))


def _quantiles(milliseconds: np.ndarray) -> List[str]:
    return [number(value) for value in np.percentile(milliseconds, [50, 90, 99])]


def _energy(blocks: List[Json]) -> str:
    energies = millijoules(blocks)
    return number(float(np.mean(energies))) if energies else ""
