"""The plots of a measurement and of a comparison.

Nothing measured is left out: what is too much to be drawn is drawn as the range that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlee.modes import EARLY, FRAME, LAYER, RANDOM
from tlee.reports import plots
from tlee.reports.pages import figures
from tlee.reports.plots import Report, drawn

LEAVING = (EARLY, LAYER, FRAME, RANDOM)  # modes that can exit early
BINS = 90  # of a distribution
STEPS = 60  # of a rate over time
BORDERS = 60  # between blocks, up to which they are drawn
# P. Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021, light: none is the colour of a mode, and black reads on all.
PARTS = {
    "open": "#DDDDDD",
    "decode": "#77AADD",
    "prepare": "#99DDFF",
    "upload": "#44BB99",
    "compute": "#EE8866",
    "decide": "#EEDD88",
    "rest": "#FFAABB",
}
STAGES = {"start": "#DDDDDD", "load": "#77AADD", "first": "#EE8866"}
STAGE_NAMES = {"start": "interpreter and imports", "load": "bundle and backend", "first": "first video"}
ALARM = "#EE6677"
BETTER, WORSE = plots.GREEN, plots.VERMILION
VERDICTS = {"faster": BETTER, "less energy": BETTER, "slower": WORSE, "more energy": WORSE}


@drawn
def latencies(report: Report) -> Figure:
    """How the times of each mode's runs are spread, after its warm-up."""
    modes = report["modes"]
    canvas, axes = plots.figure(0.7 + 0.62 * len(modes))
    times = [run_times(mode)[mode["warm_up"]["runs"] :] for mode in modes]
    measured = np.concatenate(times) if any(map(len, times)) else np.array([1.0, 10.0])
    edges = np.geomspace(0.97 * measured.min(), 1.03 * measured.max(), BINS + 1)
    for row, (mode, style, group) in enumerate(zip(modes, styles_of(modes), times)):
        name = axes.text(0, row - 0.68, plots.short(mode["name"]), fontsize=9, va="center")
        name.set_transform(axes.get_yaxis_transform())
        if not len(group):
            continue
        counts = np.histogram(group, edges)[0]
        axes.stairs(row - 0.5 * counts / counts.max(), edges, baseline=row, fill=True, color=style["color"], alpha=0.75)
        low, high = np.percentile(group, (1, 99))
        rare = group[(group < low) | (group > high)]
        dots = {"color": style["color"], "markersize": 2.2, "clip_on": False, "rasterized": True}
        axes.plot(rare, np.full(len(rare), row + 0.09), "o", **dots)
        for key, length, width in (("median", 0.5, 1.6), ("p90", 0.34, 1.2), ("p99", 0.2, 1.2)):
            value = mode["latency"][key]["value"]
            if value:
                axes.vlines(value, row - length, row, color=plots.INK, linewidth=width)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(len(modes) - 0.7, -0.95)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    plots.log_scale(axes.xaxis)
    axes.grid(True, axis="x")
    axes.set_xlabel("ms per video")
    return canvas


@drawn
def exits(report: Report) -> Figure:
    """Where frames leave, a map per mode that can exit early: per cent of the videos."""
    modes = leaving(report)
    videos = sum(modes[0]["exits"][0])  # every video has a first frame
    return plots.exit_maps({mode["name"]: mode["exits"] for mode in modes}, videos)


@drawn
def answers(report: Report) -> Figure:
    """Accuracy against energy per video, or against its time where no energy was measured."""
    canvas, axes = plots.figure(3.8)
    known = accuracies(report)
    by_energy = any(mode["energy"] for mode in known)
    styles = styles_of(report["modes"])
    for mode, style in zip(report["modes"], styles):
        if mode not in known or (by_energy and not mode["energy"]):
            continue
        cost = mode["energy"]["gross"] if by_energy else mode["latency"]["mean"]
        accuracy = 100 * mode["answers"]["accuracy"]
        axes.errorbar(cost["value"], accuracy, xerr=plots.reach(cost), label=plots.short(mode["name"]), **style)
    axes.margins(y=0.15)
    plots.accuracy_by_cost(axes, "mJ per video, gross" if by_energy else "ms per video, mean", columns=2)
    return canvas


@drawn
def parts(report: Report) -> Figure:
    """Where the time of a video goes, a bar per mode."""
    modes = report["modes"]
    canvas, axes = plots.figure(1.1 + 0.52 * len(modes))
    names = [plots.short(mode["name"]) + (" (overlapped)" if mode["overlapped"] else "") for mode in modes]
    _stack(axes, {part: [mode["parts"].get(part) or 0.0 for mode in modes] for part in PARTS}, PARTS, names)
    axes.set_xlabel("ms per video, mean")
    return canvas


@drawn
def cold(report: Report) -> Figure:
    """What a new process takes until it has its first answer, a bar per process."""
    runs = report["cold"]["runs"]
    canvas, axes = plots.figure(1.0 + min(4.0, 0.32 * len(runs)))
    colours = {STAGE_NAMES[stage]: colour for stage, colour in STAGES.items()}
    _stack(axes, {STAGE_NAMES[stage]: [run[stage] for run in runs] for stage in STAGES}, colours)
    axes.set_xlabel("ms, one bar for each new process")
    return canvas


@drawn
def sustained(report: Report) -> Figure:
    """Videos per second over time, one video after the other."""
    run = report["sustained"]
    canvas, axes = plots.figure(2.0)
    ends = np.array([run["start"], *run["times"]], float)
    # Steps of as many runs each: steps of as much time would show the grain of whole runs.
    places = np.arange(0, len(ends) - 1, math.ceil((len(ends) - 1) / STEPS))
    places = np.append(places, len(ends) - 1)
    rates = np.diff(places) / np.maximum(np.diff(ends[places]), 1e-9)
    axes.stairs(rates, ends[places], baseline=None, color=plots.INK, linewidth=1.5)
    axes.hlines(run["rate"], ends[0], ends[-1], linestyle="--", color=ALARM, linewidth=1.2)
    axes.set_ylim(0, 1.15 * max(rates.max(), run["rate"], 1e-9))
    axes.grid(True, axis="y")
    axes.set(xlabel="seconds since the measurement began", ylabel="videos per second")
    return canvas


@drawn
def graphs(report: Report) -> Figure:
    """Time of each segment or fused exit on its own."""
    return _timings({graph["name"]: graph["latency"] for graph in report["graphs"]}, "ms per run")


@drawn
def decisions(report: Report) -> Figure:
    """Time of each decision, from the answer before it."""
    count = report["bundle"]["exits"]
    rows = {plots.exit_name(row["exit"], count): row["latency"] for row in report["decisions"]}
    return _timings(rows, "ms per decision")


@drawn
def sequence(report: Report) -> Figure:
    """The time of every run in the order of the runs, so that a drift is seen."""
    modes = report["modes"]
    canvas, panels = plots.panels_of([1.05] * len(modes), 0.5)
    for axes, mode, style in zip(panels, modes, styles_of(modes)):
        times = run_times(mode)
        if not len(times):
            continue
        dots = {"color": style["color"], "markersize": 3 if len(times) < 2000 else 1.5, "markeredgewidth": 0}
        axes.plot(np.arange(len(times)), times, "o", rasterized=True, **dots)
        borders = np.cumsum([len(block["milliseconds"]) for block in mode["blocks"]])[:-1]
        for border in borders - 0.5 if len(borders) <= BORDERS else []:
            axes.axvline(border, color=plots.LINE, linewidth=0.6)
        axes.axvspan(-0.5, mode["warm_up"]["runs"] - 0.5, color=plots.INK, alpha=0.15, linewidth=0)
        axes.axhline(mode["latency"]["median"]["value"], color=plots.INK, linewidth=0.7, alpha=0.7)
        axes.margins(y=0.08)
        plots.log_scale(axes.yaxis, 4)
        axes.set_xlim(-0.5, len(times) - 0.5)
        axes.tick_params(labelsize=plots.SMALL)
        axes.set_title(plots.short(mode["name"]))
        axes.set_ylabel("ms", fontsize=plots.SMALL)
    panels[-1].set_xlabel("runs in order", fontsize=9)
    return canvas


@drawn
def ratios(comparison: Report) -> Figure:
    """The ratios of a comparison with their intervals, and the margin within which nothing is called a difference."""
    rows: list[tuple[str, Report | None, dict[str, Any]]] = []
    shown = [row for row in comparison["rows"] if row["ratio"]["value"]]
    for before, row in zip([None, *shown], shown):
        if not before or before["name"] != row["name"]:
            rows.append((row["name"], None, {}))
        differs = row["verdict"] in VERDICTS
        style = {"color": VERDICTS.get(row["verdict"], plots.GREY), "fmt": "o" if differs else "s"}
        rows.append((row["metric"], row["ratio"], style))
    canvas, axes = plots.interval_rows(rows)
    margin = comparison["margin"]
    axes.axvspan(1 / (1 + margin), 1 + margin, color=plots.INK, alpha=0.12, linewidth=0)
    axes.axvline(1, color=plots.INK, linewidth=0.8)
    axes.plot([1 / (1.2 + margin), 1.2 + margin], [0, 0], linestyle="none")  # are seen in any case
    plots.log_scale(axes.xaxis)
    axes.set_xlabel("second over first")
    return canvas


def leaving(report: Report) -> list[Report]:
    """The measured modes that can exit early."""
    return [mode for mode in report["modes"] if mode["mode"] in LEAVING and np.sum(mode["exits"])]


def accuracies(report: Report) -> list[Report]:
    """The measured modes whose accuracy is known."""
    return [mode for mode in report["modes"] if mode["answers"]["accuracy"] is not None]


def run_times(mode: Report) -> np.ndarray:
    """All times of a mode's runs in order, in ms, its warm-up among them; what a logarithm needs at least."""
    return np.maximum([time for block in mode["blocks"] for time in block["milliseconds"]], 1e-4)


def styles_of(modes: Iterable[Report]) -> list[dict[str, Any]]:
    return plots.mode_styles([mode["mode"] for mode in modes])


def _timings(rows: Mapping[str, Report], unit: str) -> Figure:
    """A row each: median with its interval, and the 90th and 99th percentile."""
    canvas, axes = plots.interval_rows(
        [(name, latency["median"], {"color": plots.INK}) for name, latency in rows.items()]
    )
    median, p90, p99 = (
        np.array([latency[key]["value"] for latency in rows.values()]) for key in ("median", "p90", "p99")
    )
    places = np.arange(len(rows))
    axes.hlines(places, median, p99, color=plots.INK, linewidth=1, alpha=0.6)
    axes.plot(p90, places, "|", color=plots.INK, markersize=11, markeredgewidth=1.8)
    axes.plot(p99, places, "|", color=plots.INK, markersize=7, markeredgewidth=1)
    plots.log_scale(axes.xaxis)
    axes.set_xlabel(unit)
    return canvas


def _stack(axes: Axes, bars: Mapping[str, list[float]], colours: Mapping[str, str], names: Sequence[str] = ()) -> None:
    """A bar per row, parts after one another with their values where there is room; names above the bars."""
    longest = np.sum(list(bars.values()), 0).max() or 1.0
    ends = np.zeros(len(next(iter(bars.values()))))
    for part, values in bars.items():
        drawn_bars = axes.barh(range(len(ends)), values, 0.5, left=ends, color=colours[part], label=part, linewidth=0)
        texts = [figures(value) for value in values]
        texts = [text if value / longest > 0.02 * (len(text) + 1) else "" for text, value in zip(texts, values)]
        axes.bar_label(drawn_bars, texts, label_type="center", color="black", fontsize=plots.SMALL)
        ends += values
    for row, name in enumerate(names):
        axes.text(0.01 * longest, row - 0.4, name, fontsize=9, va="center")
    axes.set_yticks([])
    axes.set_ylim(len(ends) - 0.6, -0.75)
    axes.set_xlim(0, 1.03 * longest)
    axes.grid(True, axis="x")
    plots.legend(axes, columns=4)
