"""The plots of a tuning."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tlee.reports import plots
from tlee.reports.metrics import wilson
from tlee.reports.plots import Report, drawn
from tlee.reports.tables import cost_unit

BASELINES = {
    "published rule": (plots.ORANGE, "."),
    "one threshold of each kind": (plots.PURPLE, "."),
    "random exit": (plots.GREEN, "X"),
    "fixed exits": (plots.SKY, "s"),
}


@drawn
def front(report: Report) -> Figure:
    """The front and its baselines, on the held-out videos."""
    canvas, axes = plots.figure(4.9)
    full = report["metric"]["full"]
    unit, name = cost_unit(full, report["metric"]["unit"])
    for baseline, (colour, mark) in BASELINES.items():
        points = report["baselines"][baseline]["points"]
        many = mark == "."
        style: dict[str, Any] = {"s": 14 if many else 30, "alpha": 0.5 if many else 0.9, "linewidths": 0}
        cost, accuracy = np.array(points["cost"]) / unit, 100 * np.array(points["top1"])
        axes.scatter(cost, accuracy, marker=mark, color=colour, label=baseline, rasterized=many, **style)
    cost, accuracy = _line(report, "held_out")
    videos = report["data"]["videos"]["held_out"]
    low, high = 100 * np.array([wilson(share / 100, videos) for share in accuracy]).T
    axes.fill_between(cost / unit, low, high, color=plots.VERMILION, alpha=0.15, linewidth=0)
    axes.plot(cost / unit, accuracy, color=plots.VERMILION, linewidth=2, label="tuned front")
    cost_tuning, accuracy_tuning = _line(report, "tuning")
    axes.plot(
        cost_tuning / unit, accuracy_tuning, "--", color=plots.VERMILION, linewidth=1, label="on the tuning videos"
    )
    without = 100 * report["full"]["held_out"]
    axes.plot(full / unit, without, "D", color=plots.BLUE, markersize=6, label="no exit")
    by_cost = sorted(report["points"].items(), key=lambda item: item[1]["held_out"]["cost"])
    for i, (point, found) in enumerate(by_cost):
        place = (found["held_out"]["cost"] / unit, 100 * found["held_out"]["top1"])
        axes.plot(*place, "o", color=plots.INK, markersize=6, zorder=5)
        pointer = {"arrowstyle": "-", "color": plots.INK, "linewidth": 0.6}
        # One under the other, since points may lie close, where no baseline is: cheap and accurate.
        axes.annotate(point, place, (0.03, 0.94 - 0.06 * i), textcoords="axes fraction", zorder=5, arrowprops=pointer)
    top = max(high.max(), without)
    axes.set_ylim(min(accuracy.min(), top - 20), top + 1)
    plots.accuracy_by_cost(axes, f"{name} per video", columns=2)
    return canvas


@drawn
def exit_map(held_out: Report) -> Figure:
    """Where an operating point's answers come from."""
    return plots.exit_maps({"": held_out["exit_histogram"]}, held_out["videos"])


@drawn
def temperatures(report: Report) -> Figure:
    """Calibration errors before and after, by exit."""
    canvas, axes = plots.figure(2.6)
    before, after = (100 * np.array(errors) for errors in report["temperature"]["error_held_out"])
    places = np.arange(len(before))
    axes.bar(places - 0.2, before, 0.38, color=plots.GREY, label="as trained")
    axes.bar(places + 0.2, after, 0.38, color=plots.BLUE, label="with temperatures")
    values = report["temperature"]["values"]
    axes.set_xticks(places, [f"{plots.exit_name(b, len(places))}\n({value:.2f})" for b, value in enumerate(values)])
    axes.set_ylabel("error, points")
    plots.legend(axes)
    return canvas


def _line(report: Report, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs and accuracies (per cent) of the front on a part of the videos."""
    places = [place[part] for place in report["front"]]
    return np.array([place["cost"] for place in places]), 100 * np.array([place["top1"] for place in places])
