"""Two measurements of `tlee-bench` side by side: which differences in time and energy are real.

Blocks are the replicates, as everywhere (see `tlee.reports.statistics`). Two launches on one machine differ by a
little for reasons that no block shows, as each launch has one memory layout and finds one state of clocks and caches
(Mytkowicz and others, "Producing wrong data without doing anything obviously wrong!", 2009; Kalibera and Jones,
"Rigorous benchmarking in reasonable time", 2013). So a difference must exceed a margin by more than its uncertainty.
"""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tlee import cli
from tlee.errors import UsageError
from tlee.reports import statistics
from tlee.reports.statistics import Interval

FORMAT = 1
PROGRAM = "tlee-report"
MARGIN = 0.03
FEW_BLOCKS = 5
RESOLUTION = 1e-4  # milliseconds, to which reports are rounded; no logarithm is taken of less
BUSY = 0.1  # cores that other programs may keep busy unmentioned
SAME = "no significant difference"
LATENCIES = {"median ms": "median", "p90 ms": "p90"}
SLOWER, MORE = ("slower", "faster"), ("more energy", "less energy")
CONDITIONS = ("device", "backend", "exit_graphs", "precision", "sampling", "threads")

Report = dict[str, Any]
Pair = tuple[Any, Any]  # of what belongs to the first and to the second report


class Row(NamedTuple):
    """One quantity in both reports; `blocks` are the logarithms of its values in each block."""

    name: str
    metric: str
    values: tuple[Interval, Interval]
    blocks: tuple[np.ndarray, np.ndarray]
    words: tuple[str, str]  # if it grew, if it shrank
    graph: bool = False  # of a graph alone, not of a mode


def compare(before: Report, after: Report, names: tuple[str, str] = ("a", "b"), margin: float = MARGIN) -> Report:
    """What differs between two reports.

    Modes are matched by mode and operating point, videos by their base name. The ratio of latencies is that of equal
    videos: for the median, the mean over videos of the logarithm of each one's median in a block; for p90, that of
    runs divided by what their video usually takes. So it need not be that of the two values shown, which are those of
    all runs of the common videos. A quantity differs if the 95 % interval of the ratio (Welch's t on the logarithms of
    the blocks) lies wholly beyond the margin, and still does so when all modes, or all graphs, are tested at once: of
    one metric, at most 5 of 100 pairs of reports that differ nowhere by more than the margin show any difference
    (Holm's method; p-values of the blocks alone, what differs between launches is what the margin is for).

    Args:
        before, after: of `tlee.reports.measurement.load`.
        names: what the reports are called, such as their files.
        margin: the relative difference that does not count, either way: 0.03 is from 1/1.03 to 1.03.

    Returns:
        {"format", "program", "a", "b", "margin", "level", "rows", "warnings"}; a row has "name", "metric", "a", "b",
        "ratio" (b/a; its bounds None if either has one block only) and "verdict".

    Raises:
        UsageError: the reports have no video or no mode in common.
    """
    both = (before, after)
    common = _videos(before) & _videos(after)
    if not common:
        raise UsageError(" and ".join(names), "have no video in common", "measure both with the same videos")
    others = {_key(mode): mode for mode in after["modes"]}
    pairs = [(mode, others[_key(mode)]) for mode in before["modes"] if _key(mode) in others]
    rows = [row for pair in pairs for row in _mode_rows(pair, both, common)]
    if not rows:
        raise UsageError(" and ".join(names), "have no mode in common", "measure both with the same modes")
    rows += _graph_rows(both)
    differences = [statistics.difference(*row.blocks) for row in rows]
    room = math.log1p(margin)
    chances = [1.0 if found is None else found.chance(room) for found in differences]
    holds = _significant(chances, [(row.metric, row.graph) for row in rows])
    a, b = (
        {"file": name, **{part: report[part] for part in ("bundle", "environment", "started")}}
        for report, name in zip(both, names)
    )
    return {
        "format": FORMAT,
        "program": PROGRAM,
        "a": a,
        "b": b,
        "margin": margin,
        "level": statistics.LEVEL,
        "rows": [_shown(row, found, held) for row, found, held in zip(rows, differences, holds)],
        "warnings": _warnings(both, pairs),
    }


def lines(comparison: Report) -> list[str]:
    """The comparison for the terminal: what was compared, a table, and what to mind."""
    shown = [
        "{side}: {file}, {bundle[name]} on {environment[device]}, {environment[backend]}, {started}".format(
            side=side, **comparison[side]
        )
        for side in "ab"
    ]
    table = [["", "metric", "a", "b", "b / a", "95 % interval", "verdict"]]
    for row in comparison["rows"]:
        ratio = row["ratio"]
        bounds = "" if ratio["low"] is None else f"{ratio['low']:.3f} to {ratio['high']:.3f}"
        values = [f"{row[side]['value']:.4g}" for side in "ab"]
        table.append([row["name"], row["metric"], *values, f"{ratio['value']:.3f}", bounds, row["verdict"]])
    shown += [""] + cli.table(table, "llrrrl") + [""]
    margin = f"{100 * comparison['margin']:g} %"
    shown.append(f"A difference counts if its interval lies beyond {margin} either way, with all modes tested at once.")
    return shown + [f"Mind: {warning}" for warning in comparison["warnings"]]


def _shown(row: Row, found: statistics.Difference | None, held: bool) -> Report:
    away = float(row.blocks[1].mean() - row.blocks[0].mean())
    ratio = {"value": math.exp(away), "low": None, "high": None}
    if found is not None:
        ratio.update(low=math.exp(away - found.half()), high=math.exp(away + found.half()))
    return {
        "name": row.name,
        "metric": row.metric,
        "a": row.values[0],
        "b": row.values[1],
        "ratio": ratio,
        "verdict": row.words[away < 0] if held else SAME,
    }


def _significant(chances: Sequence[float], families: Sequence[object]) -> list[bool]:
    """Which tests hold after Holm's correction within each family."""
    holds = [False] * len(chances)
    for family in set(families):
        own = [i for i, other in enumerate(families) if other == family]
        for i, held in zip(own, statistics.holm([chances[i] for i in own])):
            holds[i] = held
    return holds


def _base(video: str) -> str:
    return os.path.basename(video.rstrip("/"))


def _videos(report: Report) -> set[str]:
    return set(map(_base, report["load"]["videos"]))


def _key(mode: Report) -> tuple[str, str | None]:
    return mode["mode"], mode["point"]


def _mode_rows(pair: Pair, both: Pair, common: set[str]) -> list[Row]:
    order = {name: i for i, name in enumerate(sorted(common))}
    runs = [_common_runs(mode, report["load"]["videos"], order) for mode, report in zip(pair, both)]
    logs = _log_quantiles(*runs) if all(runs) else None
    if not logs:
        return []
    a, b = (statistics.latency([times for times, _ in blocks]) for blocks in runs)
    rows = [Row(pair[0]["name"], metric, (a[of], b[of]), logs[of], SLOWER) for metric, of in LATENCIES.items()]
    return rows + (_energy_rows(pair, both) if _videos(both[0]) == _videos(both[1]) else [])


def _common_runs(mode: Report, videos: Sequence[str], order: dict[str, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each block the times of the runs of common videos after the warm-up, and which videos these are."""
    index = np.array([order.get(_base(video), -1) for video in videos])
    kept = (
        statistics.without_first([block[part] for block in mode["blocks"]], mode["warm_up"]["runs"])
        for part in ("milliseconds", "video")
    )
    blocks = [(np.maximum(times, RESOLUTION), index[np.asarray(which)]) for times, which in zip(*kept)]
    return [(times[of >= 0], of[of >= 0]) for times, of in blocks if (of >= 0).any()]


def _log_quantiles(before: Sequence[Pair], after: Sequence[Pair]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each block the logarithms of median and p90, relative to what the same videos usually take in both; nothing
    if no video was run in both."""
    usual = [
        dict(zip(*statistics.group_medians(np.log(np.concatenate(times)), np.concatenate(of))))
        for times, of in (zip(*before), zip(*after))
    ]
    # A video that one side never ran (warm-up, an interruption) has no reference and says nothing of the ratio.
    reference = {video: (usual[0][video] + usual[1][video]) / 2 for video in usual[0] if video in usual[1]}
    if not reference:
        return {}
    medians, tails = [], []
    for blocks in (before, after):
        relative = []
        for times, of in blocks:
            known = np.isin(of, list(reference))
            if known.any():
                usually = [reference[video] for video in of[known]]
                relative.append((np.log(times[known]) - usually, of[known]))
        medians.append(np.array([statistics.group_medians(times, of)[1].mean() for times, of in relative]))
        tails.append(np.array([np.percentile(times, 90) for times, _ in relative]))
    return {"median": (medians[0], medians[1]), "p90": (tails[0], tails[1])}


def _energy_rows(pair: Pair, both: Pair) -> list[Row]:
    """Energy per video of all videos, without what the idle device takes where both know that."""
    energies = [mode["energy"] for mode in pair]
    if not all(energies):
        return []
    for kind in ("net", "gross"):
        blocks = [_energy_blocks(mode, report, kind) for mode, report in zip(pair, both)]
        if all(energy[kind] for energy in energies) and all(len(b) and b.min() > 0 for b in blocks):
            logs = (np.log(blocks[0]), np.log(blocks[1]))
            values = (energies[0][kind], energies[1][kind])
            return [Row(pair[0]["name"], f"mJ per video ({kind})", values, logs, MORE)]
    return []


def _energy_blocks(mode: Report, report: Report, kind: str) -> np.ndarray:
    """Millijoules per video of the blocks that have them; net: less what the idle device takes in that time."""
    idle = report["power"]["idle"]
    if kind == "net" and not idle:
        return np.array([])
    watts = idle["watts"] if kind == "net" else 0.0
    return np.array(
        [
            gross - 1000 * watts * (block["end"] - block["start"]) / len(block["video"])
            for gross, block in zip(mode["energy"]["blocks"], mode["blocks"])
            if gross is not None and block["video"]
        ]
    )


def _graph_rows(both: Pair) -> list[Row]:
    others = {graph["name"]: graph for graph in both[1]["graphs"]}
    rows = []
    for graph in both[0]["graphs"]:
        if graph["name"] in others:
            pair = (graph, others[graph["name"]])
            logs = [np.array([np.log(max(np.median(b), RESOLUTION)) for b in one["milliseconds"] if b]) for one in pair]
            values = (pair[0]["latency"]["median"], pair[1]["latency"]["median"])
            rows.append(Row("graph " + graph["name"], "median ms", values, (logs[0], logs[1]), SLOWER, True))
    return rows


def _warnings(both: Pair, pairs: Sequence[Pair]) -> list[str]:
    """What limits the comparison, most important first."""
    before, after = both
    found = []
    if before["bundle"]["sha256"] != after["bundle"]["sha256"]:
        found.append(f"other bundle (sha256): {before['bundle']['name']} and {after['bundle']['name']}")
    for name in CONDITIONS:
        values = [report["environment"].get(name) for report in both]  # older files do not say the sampling
        if None not in values and values[0] != values[1]:
            found.append(f"other {name}: {values[0]} and {values[1]}")
    if before["power"]["state"] != after["power"]["state"]:
        found.append(f"other state of power: {_state(before)} and {_state(after)}")
    if _videos(before) != _videos(after):
        found.append("other videos: only those in both are compared, and no energy, which is of all videos")
    found += _unmatched(both, pairs)
    for side, report, own in zip("ab", both, (0, 1)):
        found += _of_one(side, report, [pair[own] for pair in pairs])
    return found


def _state(report: Report) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(report["power"]["state"].items())) or "unknown"


def _unmatched(both: Pair, pairs: Sequence[Pair]) -> list[str]:
    matched = {_key(pair[0]) for pair in pairs}
    alone = [[mode for mode in report["modes"] if _key(mode) not in matched] for report in both]
    points = [{mode["mode"]: mode["point"] for mode in modes} for modes in alone]
    found = []
    for name in sorted(set(points[0]) & set(points[1])):
        found.append(f"another operating point of {name}: {points[0][name]} and {points[1][name]}")
    for side, modes in zip("ab", alone):
        found += [f"only in {side}: {m['name']}" for m in modes if m["mode"] not in points[side == "a"]]
    return found


def _of_one(side: str, report: Report, modes: Sequence[Report]) -> list[str]:
    found = []
    if report["power"]["throttled"]:
        found.append(f"{side} throttled ({report['power']['throttled'][0]})")
    busy = report["environment"]["background_cpu"] or 0
    if busy > BUSY:
        found.append(f"other programs kept {busy:.1f} cores busy in {side}")
    found += [f"{mode['name']} never settled in {side}" for mode in modes if not mode["warm_up"]["steady"]]
    counts = [len(mode["blocks"]) for mode in modes]
    if min(counts) < FEW_BLOCKS:
        found.append(f"few blocks in {side} ({min(counts)}): only large differences can be told")
    return found
