"""An evaluation's report as rows for a terminal, and as a page with plots."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from tlee.modes import EARLY, FRAME, MODES, NONE, exit_name
from tlee.reports import plots
from tlee.reports.pages import Rows, cost_unit, figures, interval, percent, render
from tlee.reports.plots import Report, drawn
from tlee.reports.rivals import rival_lines

CONFUSIONS = 15  # that the page lists
DASHES = (":", "-.", "--", "-")  # of the lines of fixed exits, branches first, the tail last
UNCHOSEN = "{} has the thresholds of the tail, which no frame of {} videos reaches: nothing may have chosen them"
NUMBERED = 20  # classes up to which a confusion matrix shows its numbers,
NAMED = 60  # and names on its axes
CLASSES = 30  # in the plot by class


def page(report: Report) -> str:
    """The page of a report made by `tlee.evaluation.report.report_of`."""
    return render(
        "evaluation.html",
        report=report,
        about_modes={mode: text for mode, text in MODES.items() if mode in report["modes"]},
        rival_lines=rival_lines(report["rivals"], report["videos"]),
        doubts=doubts(report),
        cost_unit=cost_unit(report["subject"]["full_macs"])[1],
        mode_rows=mode_rows(report),
        accuracy_and_costs=accuracy_and_costs(report),
        exit_map=exit_map(report),
        fixed_exit_map=fixed_exit_map(report),
        shown=len(hardest(report["per_class"])),
        class_plot=class_plot(report),
        class_rows=class_rows(report),
        confusion_map=confusion_map(report),
        by_number=len(report["classes"]) > NAMED,
        confusion_rows=confusion_rows(report),
        left_out=[[video["path"], video["problem"]] for video in report["unreadable"]],
    )


def findings(report: Report) -> list[str]:
    """What the table of modes does not say by itself, a line each, for a terminal."""
    suggestion = report["branches"]["suggestion"]
    lines = rival_lines(report["rivals"], report["videos"]) + [f"attention: {text}" for text in doubts(report)]
    return lines + ([suggestion] if suggestion else [])


def doubts(report: Report) -> list[str]:
    """Exits that answer no better than chance, and thresholds that nothing chose, a line each."""
    faults = report["exit_faults"]
    both = [line for line in faults["one_frame"] if line in faults["all_frames"]]
    named = {"on one frame": faults["one_frame"], "on all frames": faults["all_frames"]}
    apart = [f"{where}, {line}" for where, lines in named.items() for line in lines if line not in both]
    unchosen = [] if report["tail_reached"] else [UNCHOSEN.format(FRAME, report["videos"])]
    return [*(f"on one frame as on all, {line}" for line in both), *apart, *unchosen]


def mode_rows(report: Report) -> Rows:
    """A row per mode; the first column is text."""
    unit, name = cost_unit(report["subject"]["full_macs"])
    rows = [["mode", "top-1", "95 % interval", "top-5", "mAP", "frames", "layer", name, "share of MACs"]]
    for mode, found in report["modes"].items():
        row = [mode, percent(found["top1"]), interval(found["top1_interval"]), percent(found["top5"])]
        row += [percent(found["mean_average_precision"]), f"{found['mean_frames']:.2f}"]
        row += [f"{found['mean_frame_layer']:.2f}", figures(found["mean_macs"] / unit), percent(found["share_of_macs"])]
        rows.append(row)
    return rows


def class_rows(report: Report) -> Rows:
    """A row per class; the first column is text."""
    rows = [["class", "videos", "top-1", "without exits", "frames", "share of MACs"]]
    for row in report["per_class"]:
        accuracies = [percent(row["top1"]), percent(row["top1_no_exit"])]
        costs = [f"{row['mean_frames']:.2f}", percent(row["share_of_macs"])]
        rows.append([row["class"], str(row["videos"]), *accuracies, *costs])
    return rows


def confusion_rows(report: Report) -> Rows:
    """The most frequent mistakes; the first two columns are text. Only the head if there are none."""
    counts, classes = report["confusion"], report["classes"]
    wrong = [(n, t, p) for t, row in enumerate(counts) for p, n in enumerate(row) if n and t != p]
    worst = sorted(wrong, key=lambda item: -item[0])[:CONFUSIONS]
    return [["true", "predicted", "videos"], *([classes[t], classes[p], str(n)] for n, t, p in worst)]


@drawn
def accuracy_and_costs(report: Report) -> Figure:
    """Every mode with its 95 % interval, and every fixed exit, by MACs per video."""
    canvas, axes = plots.figure(4.4)
    unit, name = cost_unit(report["subject"]["full_macs"])
    accuracy, macs = (np.array(report["fixed_exits"][key]) for key in ("top1", "macs"))
    layers = macs.shape[1]
    for b, dashes in enumerate(DASHES[-layers:]):
        style: dict[str, Any] = {"color": plots.INK, "alpha": 0.6, "linewidth": 1, "marker": ".", "markersize": 5}
        label = f"fixed: {exit_name(b, layers)}"
        axes.plot(macs[:, b] / unit, 100 * accuracy[:, b], dashes, label=label, zorder=1, **style)
    for (mode, found), style in zip(report["modes"].items(), plots.mode_styles(list(report["modes"]))):
        top1, (low, high) = found["top1"], found["top1_interval"]
        bars = [[100 * (top1 - low)], [100 * (high - top1)]]
        axes.errorbar(found["mean_macs"] / unit, 100 * top1, bars, label=mode, **style)
    plots.accuracy_by_cost(axes, f"{name} per video")
    return canvas


@drawn
def exit_map(report: Report) -> Figure:
    """Where the videos' answers came with early exits."""
    return plots.exit_maps({"": report["modes"][EARLY]["exit_histogram"]}, report["videos"])


@drawn
def fixed_exit_map(report: Report) -> Figure:
    """Top-1 accuracy of every fixed exit, and what it costs."""
    accuracy, macs = (np.array(report["fixed_exits"][key]).T for key in ("top1", "macs"))
    unit, _ = cost_unit(report["subject"]["full_macs"])
    texts = [[f"{100 * a:.1f}\n{figures(m / unit)}" for a, m in zip(*rows)] for rows in zip(accuracy, macs)]
    layers = len(accuracy)
    shade = 0.05 + 0.95 * (accuracy - accuracy.min()) / max(np.ptp(accuracy), 1e-9)
    canvas, axes = plots.figure(0.6 + 0.42 * layers)
    plots.cells(axes, shade, texts, [exit_name(b, layers) for b in range(layers)])
    axes.set_xlabel("frame, in processing order", fontsize=9)
    return canvas


@drawn
def confusion_map(report: Report) -> Figure:
    """True classes in rows, shaded by their share of the row."""
    counts, names = np.array(report["confusion"]), [plots.short(name) for name in report["classes"]]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(10.0, 3.2 + 0.28 * len(names))
    canvas, axes = plots.figure(side * 0.92)
    canvas.set_figwidth(side)
    scale = PowerNorm(0.5, 0, 1)  # few videos are mistaken for any one class: their shades are spread
    image = axes.imshow(shares, cmap=plots.SHADES, norm=scale, interpolation="nearest")
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= NAMED:
        size = 10 if len(names) <= NUMBERED else 6
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
        axes.set_yticks(range(len(names)), names, fontsize=size)
    if len(names) <= NUMBERED:
        plots.numbers(axes, scale(shares), [[str(count or "") for count in row] for row in counts.tolist()])
    bar = canvas.colorbar(image, ax=axes, fraction=0.04, pad=0.02, label="share of the true class", shrink=0.8)
    bar.outline.set_visible(False)
    return canvas


@drawn
def class_plot(report: Report) -> Figure:
    """Accuracy of each class with exits and without; of many classes, those with the lowest."""
    rows = hardest(report["per_class"])[::-1]
    canvas, axes = plots.figure(1.2 + 0.24 * len(rows))
    places = np.arange(len(rows))
    with_exits, without = ([100 * row[key] for row in rows] for key in ("top1", "top1_no_exit"))
    axes.hlines(places, with_exits, without, color=plots.INK, alpha=0.4, linewidth=1.5)
    # The larger mark behind, so that both are seen where they are equal.
    axes.scatter(without, places, s=60, marker="D", color=plots.BLUE, label=NONE)
    axes.scatter(with_exits, places, s=26, marker="o", color=plots.VERMILION, label=EARLY)
    axes.set_yticks(places, [f"{plots.short(row['class'])} ({row['videos']})" for row in rows], fontsize=plots.SMALL)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("top-1 accuracy, %")
    axes.grid(True, axis="x")
    plots.legend(axes)
    return canvas


def hardest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The classes of the plot by class: all in their order, or those with the lowest accuracy, lowest first."""
    if len(rows) <= CLASSES:
        return rows
    return sorted(rows, key=lambda row: (row["top1"], row["top1_no_exit"]))[:CLASSES]
