"""The plots of a tuning, in the style of all reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tlee.reports.evaluation_plots import accuracy_by_cost, histogram_map
from tlee.reports.metrics import wilson
from tlee.reports.svg import INK, drawn, figure, layer_name
from tlee.reports.tables import cost_unit

# Okabe and Ito, "Color universal design", 2008.
RIVALS = {
    "published rule": ("#E69F00", "."),
    "one threshold of each kind": ("#CC79A7", "."),
    "random exit": ("#009E73", "X"),
    "fixed exits": ("#56B4E9", "s"),
}
FRONT = "#D55E00"
BEFORE, AFTER = "#999999", "#0072B2"


@drawn
def front(report: dict[str, Any]) -> Figure:
    """The front and what it has to beat, on the held-out videos."""
    canvas, axes = figure(9, 5)
    unit, name = cost_unit(report["metric"])
    for rival, (colour, mark) in RIVALS.items():
        points = report["rivals"][rival]["points"]
        large = mark != "."
        style: dict[str, Any] = {"s": 30 if large else 14, "alpha": 0.9 if large else 0.5, "linewidths": 0}
        cost, accuracy = np.array(points["cost"]) / unit, 100 * np.array(points["top1"])
        axes.scatter(cost, accuracy, marker=mark, color=colour, label=rival, rasterized=not large, **style)
    held, tuning = ([point[part] for point in report["front"]] for part in ("held_out", "tuning"))
    cost, accuracy = (np.array([point[key] for point in held]) for key in ("cost", "top1"))
    low, high = np.array([wilson(value, report["data"]["videos"]["held_out"]) for value in accuracy]).T
    axes.fill_between(cost / unit, 100 * low, 100 * high, color=FRONT, alpha=0.15, linewidth=0)
    axes.plot(cost / unit, 100 * accuracy, color=FRONT, linewidth=2, label="tuned front")
    chosen = [[point["cost"] / unit for point in tuning], [100 * point["top1"] for point in tuning]]
    axes.plot(*chosen, "--", color=FRONT, linewidth=1, label="on the tuning videos")
    full = (report["metric"]["full"] / unit, 100 * report["full"]["held_out"])
    axes.plot(*full, "D", color="#0072B2", markersize=7, label="no exit")
    by_cost = sorted(report["points"].items(), key=lambda item: item[1]["held_out"]["cost"])
    for i, (point, numbers) in enumerate(by_cost):
        place = (numbers["held_out"]["cost"] / unit, 100 * numbers["held_out"]["top1"])
        axes.plot(*place, "o", color=INK, markersize=6, zorder=5)
        pointer = {"arrowstyle": "-", "color": INK, "linewidth": 0.6}
        # One under the other, since points may lie close, where no rival is: cheap and accurate.
        axes.annotate(point, place, (0.03, 0.94 - 0.06 * i), textcoords="axes fraction", zorder=5, arrowprops=pointer)
    top = max(100 * high.max(), full[1])
    axes.set_ylim(min(100 * accuracy.min(), top - 20), top + 1)
    accuracy_by_cost(axes, name)
    return canvas


@drawn
def exit_map(held_out: dict[str, Any]) -> Figure:
    """Where an operating point's answers come from."""
    return histogram_map(held_out["exit_histogram"], held_out["videos"])


@drawn
def temperatures(report: dict[str, Any]) -> Figure:
    """Calibration errors before and after, by exit."""
    canvas, axes = figure(6, 2.6)
    before, after = (100 * np.array(errors) for errors in report["temperature"]["error_held_out"])
    places = np.arange(len(before))
    axes.bar(places - 0.2, before, 0.38, color=BEFORE, label="as trained")
    axes.bar(places + 0.2, after, 0.38, color=AFTER, label="with temperatures")
    values = report["temperature"]["values"]
    names = [f"{layer_name(b, len(places))}\n({value:.2f})" for b, value in enumerate(values)]
    axes.set_xticks(places, names)
    axes.set_ylabel("error, points")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return canvas
