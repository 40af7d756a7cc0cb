"""A measurement on a terminal: its summaries with their 95 % intervals, and what makes them doubtful."""

from typing import Any

from tlee import cli
from tlee.cli import number
from tlee.reports.comparison import BUSY
from tlee.reports.rivals import rival_lines

QUANTILES = ("median", "p90", "p99")
PARTS = ("open", "decode", "prepare", "upload", "compute", "decide", "rest")
TIMES = ["median ms", "95 %", "p90", "p99"]
Json = dict[str, Any]


def lines(report: Json) -> list[str]:
    """What was measured on what, a table of modes, one of graphs, and what to mind.

    Args:
        report: of `tlee.reports.measurement.load`.
    """
    bundle, place = report["bundle"], report["environment"]
    load, modes = report["load"], report["modes"]
    what = "clips of noise" if load["synthetic"] else "videos"
    runs = sum(mode["latency"]["runs"] for mode in modes)
    found = [
        f"{bundle['name']} ({bundle['backbone']}) on {place['device']}, {place['backend']}, "
        f"{place['exit_graphs']} exits",
        f"{what}: {len(load['videos'])}; modes, in turns: {len(modes)}; blocks of each: {len(modes[0]['blocks'])}; "
        f"runs after the warm-up: {runs}",
        _power(report["power"]),
        "",
        *cli.table(_modes(report), "lrrrrrrrrr"),
        "",
    ]
    rows = [["graph", *TIMES, "mJ"]]
    for graph in report["graphs"]:
        energy = number(graph["energy"]["gross"]) if graph["energy"] else ""
        rows.append([graph["name"], *_times(graph["latency"]), energy])
    found += [*cli.table(rows, "lrrrrr"), ""] if report["graphs"] else []
    found += [*rivals(report), ""] if report["rivals"] else []
    return [*found, *_others(report), *(f"attention: {text}" for text in doubts(report))]


def rivals(report: Json) -> list[str]:
    """Early exits against one frame, three frames and no exit, where the videos' classes are known: a line each."""
    videos = len(report["load"]["videos"])
    named = report["rivals"].items()
    return [line for name, found in named for line in rival_lines(found, videos, "mean time", name)]


def doubts(report: Json) -> list[str]:
    """What makes a measurement doubtful."""
    found = [f"throttled at {text}" for text in report["power"]["throttled"]]
    found += [
        f"{mode['name']} never settled, nothing was left out as warm-up"
        for mode in report["modes"]
        if not mode["warm_up"]["steady"]
    ]
    busy = report["environment"]["background_cpu"] or 0
    return found + ([f"other programs kept {busy:.1f} cores busy"] if busy > BUSY else [])


def _power(power: Json) -> str:
    if power["source"] == "none":
        return f"power: not measured ({power['reason']})"
    idle = f"{power['idle']['watts']:.2f} W at rest" if power["idle"] else None
    return "; ".join(filter(None, (f"power: {power['source']}, {power['total']}", idle, power["reason"])))


def _modes(report: Json) -> list[list[str]]:
    rows = [["mode", "accuracy", "share", "frames", *TIMES, "videos/s", "mJ (net)"]]
    for mode in report["modes"]:
        answers, energy = mode["answers"], mode["energy"]
        accuracy = "" if answers["accuracy"] is None else f"{answers['accuracy']:.1%}"
        used = number(energy["gross"]["value"]) if energy else ""
        used += f" ({number(energy['net']['value'])})" if energy and energy["net"] else ""
        cells = [mode["name"], accuracy, f"{answers['share']:.1%}", f"{answers['frames']:.1f}"]
        rows.append([*cells, *_times(mode["latency"]), number(mode["rate"]["videos"]), used])
    return rows


def _times(latency: Json) -> list[str]:
    median, p90, p99 = (number(latency[key]["value"]) for key in QUANTILES)
    ends = [latency["median"]["low"], latency["median"]["high"]]
    interval = "" if ends == [None, None] else " to ".join("?" if end is None else number(end) for end in ends)
    return [median, interval, p90, p99]


def _others(report: Json) -> list[str]:
    first, cold, run = report["modes"][0], report["cold"], report["sustained"]
    parts = ", ".join(f"{part} {number(first['parts'][part])}" for part in PARTS)
    overlapped = " (frames are read while others compute)" if first["overlapped"] else ""
    found = [f"mean ms of a video, {first['name']}: {parts}{overlapped}"]
    for decision in report["decisions"]:
        median, _, _, p99 = _times(decision["latency"])
        found.append(f"decision at exit {decision['exit']}: median {median} ms, p99 {p99} ms")
    if cold:
        starts = cold["runs"]
        means = [f"{key} {number(sum(s[key] for s in starts) / len(starts))}" for key in ("start", "load", "first")]
        median, interval, _, _ = _times(cold["latency"])
        known = f", 95 %: {interval}" if interval else ""
        told = f"cold start: first result after {median} ms{known}, median of {len(starts)}"
        found.append(f"{told} (means: {', '.join(means)})")
    if run:
        seconds = run["end"] - run["start"]
        found.append(f"sustained: {run['rate']:.1f} videos/s, {run['name']}, over {seconds:.0f} s")
    return found
