"""The plots of a measurement and of a comparison. Nothing measured is left out: what is too much to be drawn is drawn
as the range that it covers."""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tlee.modes import EARLY, FRAME, LAYER, RANDOM
from tlee.reports import plots
from tlee.reports.pages import figures
from tlee.reports.plots import Report, drawn

LEAVING = (EARLY, LAYER, FRAME, RANDOM)  # modes that can exit early
BINS = 90  # of a distribution
STEPS = 60  # of a rate over time
BORDERS = 60  # between blocks, up to which they are drawn
SAMPLES = 1500  # of power, up to which every one is drawn
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
# Of a cold start, by their names in a report.
STAGES = {"start": "interpreter and imports", "load": "bundle and backend", "first": "first video"}
STAGE_COLOURS = dict(zip(STAGES.values(), ("#DDDDDD", "#77AADD", "#EE8866")))
# As above, bright: lines that are no mode's.
LINES = ("#4477AA", "#CCBB44", "#66CCEE", "#AA3377", "#228833")
ALARM = "#EE6677"
VERDICTS = dict.fromkeys(("faster", "less energy"), plots.GREEN)
VERDICTS.update(dict.fromkeys(("slower", "more energy"), plots.VERMILION))


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
        dots = {"color": style["color"], "markersize": 2.2, "rasterized": True}
        axes.plot(rare, np.full(len(rare), row + 0.09), "o", clip_on=False, **dots)
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
    by_energy = any(mode["energy"] for mode in accuracies(report))
    for mode, style in zip(report["modes"], styles_of(report["modes"])):
        accuracy = mode["answers"]["accuracy"]
        if accuracy is None or (by_energy and not mode["energy"]):
            continue
        cost = mode["energy"]["gross"] if by_energy else mode["latency"]["mean"]
        axes.errorbar(cost["value"], 100 * accuracy, xerr=plots.reach(cost), label=plots.short(mode["name"]), **style)
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
    _stack(axes, {name: [run[stage] for run in runs] for stage, name in STAGES.items()}, STAGE_COLOURS)
    axes.set_xlabel("ms, one bar for each new process")
    return canvas


@drawn
def sustained(report: Report) -> Figure:
    """Videos per second over time, one video after the other."""
    run = report["sustained"]
    canvas, axes = plots.figure(2.0)
    ends = np.array([run["start"], *run["times"]], float)
    # Steps of as many runs each: steps of as much time would show the grain of whole runs.
    places = np.append(np.arange(0, len(ends) - 1, math.ceil((len(ends) - 1) / STEPS)), len(ends) - 1)
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
    for name, group in itertools.groupby(shown, operator.itemgetter("name")):
        rows.append((name, None, {}))
        for row in group:
            colour = VERDICTS.get(row["verdict"])
            style = {"color": colour or plots.GREY, "fmt": "o" if colour else "s"}
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
    style = {"color": plots.INK}
    canvas, axes = plots.interval_rows([(name, latency["median"], style) for name, latency in rows.items()])
    median, p90, p99 = np.array([[row[key]["value"] for row in rows.values()] for key in ("median", "p90", "p99")])
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


@drawn
def power(report: Report) -> Figure:
    """Power over the measurement, and below it the clocks where they are known."""
    measured = report["power"]
    clocks = {name: values for name, values in measured["samples"]["clocks"].items() if _known(values)}
    legend = 0.16 * (len(report["modes"]) + 1)
    canvas, panels = plots.panels_of([2.6, 1.3] if clocks else [2.6], 0.6 + legend, sharex=True)
    _watts(panels[0], report)
    for (name, values), colour in zip(sorted(clocks.items()), LINES * len(clocks)):
        _series(panels[1], measured, values, color=colour, label=plots.short(name), linewidth=1.3)
    if clocks:
        panels[1].set(ylabel="MHz", ylim=(0, 1.08 * max(np.nanmax(np.array(own, float)) for own in clocks.values())))
        plots.legend(panels[1], columns=4)
    for axes in panels:
        for start, end in measured["gaps"]:
            axes.axvspan(start, end, facecolor="none", edgecolor=plots.INK, alpha=0.35, hatch="////", linewidth=0)
        for change in measured["changes"]:
            axes.axvline(change["time"], color=plots.INK, linestyle=":", linewidth=1)
        for time in throttles(measured):
            axes.axvline(time, color=ALARM, linewidth=2)
        axes.grid(True, axis="y")
    panels[-1].set(xlim=(0, max(report["seconds"], 1e-3)), xlabel="seconds since the measurement began")
    return canvas


def power_is_known(report: Report) -> bool:
    """Whether there are at least two samples of power to draw."""
    samples = report["power"]["samples"]
    return len(samples.get("time") or []) > 1 and _known(samples["watts"])


def throttles(power: Report) -> list[float]:
    """When it throttled, in s, as far as the texts begin with a time."""
    found = (re.match(r"\s*([0-9]+(?:\.[0-9]+)?) s\b", text) for text in power["throttled"])
    return [float(match[1]) for match in found if match]


def _watts(axes: Axes, report: Report) -> None:
    measured = report["power"]
    samples, idle = measured["samples"], measured["idle"]
    watts = np.array(samples["watts"], float)
    top = 1.12 * max(np.nanmax(watts), 1e-6)
    shades = []
    for mode, style in zip(report["modes"], styles_of(report["modes"])):
        spans = [(block["start"], block["end"] - block["start"]) for block in mode["blocks"]]
        shade: dict[str, Any] = {"color": style["color"], "alpha": 0.4, "linewidth": 0}
        axes.broken_barh(spans, (0, top), **shade)
        shades.append(Patch(label=plots.short(mode["name"]), **shade))
    # A rail that is as the total is the total.
    rails = {name: values for name, values in sorted(samples["rails"].items()) if _known(values)}
    rails = {n: v for n, v in rails.items() if np.nanmax(np.append(np.abs(np.array(v, float) - watts), 0)) > 1e-6}
    for (name, values), dashes in zip(rails.items(), ("--", ":", "-.") * len(rails)):
        style = {"color": plots.INK, "linestyle": dashes, "linewidth": 0.8, "alpha": 0.8}
        _series(axes, measured, values, label=plots.short(name), **style)
    _series(axes, measured, samples["watts"], color=plots.INK, linewidth=1.2, label="total")
    if idle:
        axes.axhline(idle["watts"], color=LINES[0], linestyle="--", linewidth=1.2, label="idle")
        axes.hlines(idle["watts"], idle["start"], idle["end"], color=LINES[0], linewidth=3)
    axes.set(ylim=(0, top), ylabel="W")
    plots.legend(axes, columns=2, handles=[*shades, *axes.get_legend_handles_labels()[0]])


def _series(axes: Axes, power: Report, values: Sequence[float | None], **style: Any) -> None:
    """A line over time, broken where nothing is known; of many samples medians, and the ranges that they cover."""
    time, known = np.array(power["samples"]["time"], float), np.array(values, float)
    middles = [(start + end) / 2 for start, end in power["gaps"]]
    places = np.searchsorted(time, middles)
    time, known = np.insert(time, places, middles), np.insert(known, places, np.nan)
    if len(time) > SAMPLES:
        stretch = math.ceil(3 * len(time) / SAMPLES)
        filled = [np.nan] * (-len(time) % stretch)
        time, known = (np.append(row, filled).reshape(-1, stretch) for row in (time, known))
        time = np.nanmean(time, 1)
        axes.fill_between(time, np.nanmin(known, 1), np.nanmax(known, 1), color=style["color"], alpha=0.3, linewidth=0)
        known = np.nanmedian(known, 1)
    axes.plot(time, known, **style)


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)
