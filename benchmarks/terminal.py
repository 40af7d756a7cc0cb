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
    """What was measured on what, a table of modes, one of graphs, and all else that was measured."""
    head = "{name} ({backbone}), {exits} exits, ".format(**report["bundle"])
    head += "on {device}, {backend}, {exit_graphs}".format(**report["environment"])
    found = [head, _load(report), _power(report), ""]
    found += cli.table(_modes(report), "lrrrrrr") + [""]
    found += cli.table(_graphs(report), "lrrrr") + [""] if report["graphs"] else []
    found += [f"throttled at {text}" for text in report["power"]["throttled"]]
    return found + _others(report)


def _load(report: Json) -> str:
    load, modes = report["load"], report["modes"]
    what = "clips of noise" if load["synthetic"] else "videos"
    runs = sum(len(block["video"]) for mode in modes for block in mode["blocks"])
    text = "{}: {}; modes: {}; blocks of each: {}; runs, all of them counted: {}"
    return text.format(what, len(load["videos"]), len(modes), len(modes[0]["blocks"]), runs)


def _power(report: Json) -> str:
    power = report["power"]
    if power["source"] == "none":
        return "power: not measured ({reason})".format(**power)
    text = "power: {source}, {total}".format(**power)
    if power["idle"]:
        text += "; {watts:.2f} W at rest".format(**power["idle"])
    return text + ("; {reason}".format(**power) if power["reason"] else "")


def _modes(report: Json) -> List[List[str]]:
    rows = [["mode", "frames", *TIMES, "videos/s", "mJ"]]
    for mode in report["modes"]:
        blocks = mode["blocks"]
        videos, frames = sum(len(b["video"]) for b in blocks), sum(b["frames"] for b in blocks)
        rate = videos / sum(b["end"] - b["start"] for b in blocks)
        rows.append([mode["name"], f"{frames / videos:.1f}", *_times(blocks), number(rate), _energy(blocks)])
    return rows


def _graphs(report: Json) -> List[List[str]]:
    rows = [[graph["name"], *_times(graph["blocks"]), _energy(graph["blocks"])] for graph in report["graphs"]]
    return [["graph", *TIMES, "mJ"], *rows]


def _others(report: Json) -> List[str]:
    first = report["modes"][0]
    means = {part: np.mean([block["parts"][part] for block in first["blocks"]]) for part in PARTS}
    parts = ", ".join(f"{part} {number(means[part])}" for part in PARTS)
    overlapped = " (frames are read while others compute)" if first["overlapped"] else ""
    found = ["mean ms of a video, {}: {}{}".format(first["name"], parts, overlapped)]
    for decision in report["decisions"]:
        median, _, p99 = _quantiles(np.concatenate(decision["milliseconds"]))
        found.append("decision at exit {}: median {} ms, p99 {} ms".format(decision["exit"], median, p99))
    if report["cold"]:
        means = {key: number(np.mean([run[key] for run in report["cold"]])) for key in report["cold"][0]}
        text = "cold start: first result after {total} ms (start {start}, load {load}, first video {first}), mean of "
        found.append(text.format(**means) + str(len(report["cold"])))
    run = report["sustained"]
    if run:
        seconds = run["end"] - run["start"]
        rate = len(run["times"]) / seconds
        found.append("sustained: {:.1f} videos/s, {}, over {:.0f} s".format(rate, run["name"], seconds))
    return found


def _times(blocks: Sequence[Json]) -> List[str]:
    return _quantiles(np.concatenate([block["milliseconds"] for block in blocks]))


def _quantiles(milliseconds: np.ndarray) -> List[str]:
    return [number(value) for value in np.percentile(milliseconds, [50, 90, 99])]


def _energy(blocks: List[Json]) -> str:
    energies = millijoules(blocks)
    return number(float(np.mean(energies))) if energies else ""
