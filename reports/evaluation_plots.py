"""The plots of a report as SVG: text stays text, and colours follow the page that they stand in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tlee.modes import EARLY, NONE, PLAIN
from tlee.reports.svg import INK, MARKS, SHADES, drawn, figure, frame_map, layer_name, numbers, short
from tlee.reports.tables import figures, mac_unit

DASHES = (":", "-.", "--", "-")  # of the lines of fixed exits, branches first, the tail last
NUMBERED = 20  # classes up to which a confusion matrix shows its numbers,
NAMED = 60  # and names on its axes
CLASSES = 30  # in the plot by class


def standalone(svg: str) -> str:
    """A drawn plot as a file of its own, on white."""
    return svg.replace("<svg ", '<svg style="color: #1c1e21; --line: #c9ced6; background: #fff" ', 1)


@drawn
def accuracy_and_costs(report: dict[str, Any]) -> Figure:
    """Every mode with its 95 % interval, and every fixed exit, by MACs per video."""
    canvas, axes = figure(9, 4.6)
    unit, name = mac_unit(report["subject"]["full_macs"])
    fixed = {key: np.array(values) for key, values in report["fixed_exits"].items()}
    layers = fixed["macs"].shape[1]
    for b, dashes in enumerate(DASHES[-layers:]):
        points = (fixed["macs"][:, b] / unit, 100 * fixed["top1"][:, b])
        label = f"fixed: {layer_name(b, layers)}"
        axes.plot(*points, dashes, color=INK, alpha=0.6, linewidth=1, marker=".", markersize=5, zorder=1, label=label)
    for mode, measured in report["modes"].items():
        colour, shape, size = MARKS[mode]
        ring = mode == PLAIN  # costs as much as no exit: drawn around it
        style: dict[str, Any] = {
            "color": colour,
            "markerfacecolor": "none" if ring else colour,
            "markeredgewidth": 2.5 if ring else 1,
        }
        low, high = measured["top1_interval"]
        reach = [[100 * (measured["top1"] - low)], [100 * (high - measured["top1"])]]
        point = ([measured["mean_macs"] / unit], [100 * measured["top1"]])
        axes.errorbar(*point, reach, fmt=shape, markersize=size, elinewidth=1.2, capsize=3, label=mode, **style)
    accuracy_by_cost(axes, name)
    return canvas


@drawn
def exit_map(report: dict[str, Any]) -> Figure:
    """Where the videos' answers came with early exits: frames by exits, in per cent of the videos."""
    return histogram_map(report["modes"][EARLY]["exit_histogram"], report["videos"])


@drawn
def fixed_exit_map(report: dict[str, Any]) -> Figure:
    """Top-1 accuracy of every fixed exit, and what it costs."""
    accuracy, macs = (np.array(report["fixed_exits"][key]).T for key in ("top1", "macs"))
    unit, _ = mac_unit(report["subject"]["full_macs"])
    texts = [[f"{100 * a:.1f}\n{figures(m / unit)}" for a, m in zip(*rows)] for rows in zip(accuracy, macs)]
    layers, frames = accuracy.shape
    low, high = accuracy.min(), accuracy.max()
    shade = 0.05 + 0.95 * (accuracy - low) / max(high - low, 1e-9)
    return frame_map(shade, texts, [layer_name(b, layers) for b in range(layers)], [str(t) for t in range(frames)])


@drawn
def confusion_map(report: dict[str, Any]) -> Figure:
    """True classes in rows, shaded by their share of the row."""
    counts, classes = np.array(report["confusion"]), report["classes"]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(10.0, 3.2 + 0.28 * len(classes))
    canvas, axes = figure(side, side * 0.92)
    scale = PowerNorm(0.5, 0, 1)  # few videos are mistaken for any one class: their shades are spread
    image = axes.imshow(shares, cmap=SHADES, norm=scale, interpolation="nearest")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(classes) <= NAMED:
        size = 10 if len(classes) <= NUMBERED else 6
        axes.set_xticks(range(len(classes)), [short(name) for name in classes], rotation=90, fontsize=size)
        axes.set_yticks(range(len(classes)), [short(name) for name in classes], fontsize=size)
    if len(classes) <= NUMBERED:
        numbers(axes, scale(shares), [[str(count or "") for count in row] for row in counts.tolist()])
    bar = canvas.colorbar(image, ax=axes, fraction=0.04, pad=0.02, label="share of the true class", shrink=0.8)
    bar.outline.set_visible(False)
    return canvas


@drawn
def class_plot(report: dict[str, Any]) -> Figure:
    """Accuracy of each class with exits and without; of many classes, those with the lowest."""
    rows = hardest(report["per_class"])[::-1]
    canvas, axes = figure(9, 1.2 + 0.24 * len(rows))
    places = np.arange(len(rows))
    with_exits, without = ([100 * row[key] for row in rows] for key in ("top1", "top1_no_exit"))
    axes.hlines(places, with_exits, without, color=INK, alpha=0.4, linewidth=1.5)
    # The larger mark behind, so that both are seen where they are equal.
    for values, mode, size in ((without, NONE, 80), (with_exits, EARLY, 34)):
        axes.scatter(values, places, s=size, marker="D" if mode == NONE else "o", color=MARKS[mode][0], label=mode)
    axes.set_yticks(places, [f"{short(row['class'])} ({row['videos']})" for row in rows])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("top-1 accuracy, %")
    axes.grid(True, axis="x")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return canvas


def hardest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The classes of the plot by class: all in their order, or those with the lowest accuracy, lowest first."""
    if len(rows) <= CLASSES:
        return rows
    return sorted(rows, key=lambda row: (row["top1"], row["top1_no_exit"]))[:CLASSES]


def accuracy_by_cost(axes: Axes, unit: str) -> None:
    """Axes of a plot of accuracy by cost, once everything is drawn."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{unit} per video")
    axes.set_ylabel("top-1 accuracy, %")
    axes.grid(True, which="major")
    axes.margins(x=0.08)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def histogram_map(histogram: Sequence[Sequence[int]], videos: int) -> Figure:
    """Where so many videos' answers came, (T, B + 1), in per cent of them."""
    shares = 100 * np.array(histogram).T / videos
    texts = [[f"{share:.1f}" if share else "" for share in row] for row in shares]
    layers, frames = shares.shape
    rows = [f"{layer_name(b, layers)} ({shares[b].sum():.1f})" for b in range(layers)]
    columns = [f"{t}\n({shares[:, t].sum():.1f})" for t in range(frames)]
    return frame_map(shares / max(shares.max(), 1e-9), texts, rows, columns)
