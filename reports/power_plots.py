"""The plot of power and clocks over a measurement."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tlee.reports import plots
from tlee.reports.measurement_plots import ALARM, styles_of
from tlee.reports.plots import Report, drawn

SAMPLES = 1500  # up to which every one is drawn
# P. Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021, bright: lines that are no mode's.
LINES = ("#4477AA", "#CCBB44", "#66CCEE", "#AA3377", "#228833")


@drawn
def power(report: Report) -> Figure:
    """Power over the measurement, and below it the clocks where they are known."""
    measured = report["power"]
    clocks = {name: values for name, values in measured["samples"]["clocks"].items() if _known(values)}
    heights = [2.6, 1.3] if clocks else [2.6]
    canvas, panels = plots.panels_of(heights, 0.6 + 0.16 * (len(report["modes"]) + 1), sharex=True)
    _watts(panels[0], report)
    for (name, values), colour in zip(sorted(clocks.items()), LINES * len(clocks)):
        _series(panels[1], measured, values, color=colour, label=plots.short(name), linewidth=1.3)
    if clocks:
        panels[1].set(ylabel="MHz", ylim=(0, 1.08 * max(np.nanmax(np.array(own, float)) for own in clocks.values())))
        plots.legend(panels[1], columns=4)
    for axes in panels:
        _events(axes, measured)
        axes.grid(True, axis="y")
    panels[-1].set(xlim=(0, max(report["seconds"], 1e-3)), xlabel="seconds since the measurement began")
    return canvas


def power_is_known(report: Report) -> bool:
    """Whether there are at least two samples of power to draw."""
    samples = report["power"]["samples"]
    return len(samples.get("time") or []) > 1 and _known(samples["watts"])


def throttles(power: Report) -> list[float]:
    """When it throttled, in s, as far as the texts begin with a time."""
    found = [re.match(r"\s*([0-9]+(?:\.[0-9]+)?) s\b", text) for text in power["throttled"]]
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
        _series(
            axes, measured, values, color=plots.INK, linestyle=dashes, linewidth=0.8, alpha=0.8, label=plots.short(name)
        )
    _series(axes, measured, samples["watts"], color=plots.INK, linewidth=1.2, label="total")
    if idle:
        axes.axhline(idle["watts"], color=LINES[0], linestyle="--", linewidth=1.2, label="idle")
        axes.hlines(idle["watts"], idle["start"], idle["end"], color=LINES[0], linewidth=3)
    axes.set(ylim=(0, top), ylabel="W")
    plots.legend(axes, columns=2, handles=[*shades, *axes.get_legend_handles_labels()[0]])


def _events(axes: Axes, power: Report) -> None:
    for start, end in power["gaps"]:
        axes.axvspan(start, end, facecolor="none", edgecolor=plots.INK, alpha=0.35, hatch="////", linewidth=0)
    for change in power["changes"]:
        axes.axvline(change["time"], color=plots.INK, linestyle=":", linewidth=1)
    for time in throttles(power):
        axes.axvline(time, color=ALARM, linewidth=2)


def _series(axes: Axes, power: Report, values: Sequence[float | None], **style: Any) -> None:
    """A line over time, broken where nothing is known; of many samples medians, and the ranges that they cover."""
    time, known = np.array(power["samples"]["time"], float), np.array(values, float)
    middles = [(start + end) / 2 for start, end in power["gaps"]]
    places = np.searchsorted(time, middles)
    time, known = np.insert(time, places, middles), np.insert(known, places, np.nan)
    if len(time) > SAMPLES:
        stretch = math.ceil(3 * len(time) / SAMPLES)
        filled = -len(time) % stretch
        time, known = (np.append(row, [np.nan] * filled).reshape(-1, stretch) for row in (time, known))
        time = np.nanmean(time, 1)
        axes.fill_between(time, np.nanmin(known, 1), np.nanmax(known, 1), color=style["color"], alpha=0.3, linewidth=0)
        known = np.nanmedian(known, 1)
    axes.plot(time, known, **style)


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)
