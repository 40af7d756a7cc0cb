"""The plots of an INT8 calibration."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tlee.reports import plots
from tlee.reports.plots import Report, drawn

VARIANTS = {"fp32": "float32", "int8": "INT8", "plan": "plan"}
COLOURS = {"label": plots.VERMILION, "exit": plots.BLUE, "distance": plots.GREEN}


@drawn
def agreement(report: Report) -> Figure:
    """Shares of videos with the label and the exit of float32, with 95 % intervals."""
    rows = []
    for exits, what in (("early exits", "label"), ("early exits", "exit"), ("no exit", "label")):
        for variant in ("int8", "plan"):
            found = report["held_out"]["forms"][exits][variant]
            share, (low, high) = found[f"{what}_agreement"], found[f"{what}_agreement_interval"]
            found = {"value": 100 * share, "low": 100 * low, "high": 100 * high}
            rows.append((f"{VARIANTS[variant]}: {what}, {exits}", found, {"color": COLOURS[what]}))
    canvas, axes = plots.interval_rows(rows)
    axes.axvline(100 * report["targets"]["label_agreement"], color=plots.INK, linewidth=1, linestyle="--", alpha=0.6)
    axes.set_xlabel("videos as in float32, %; dashed: the target for labels")
    return canvas


@drawn
def sensitivity(report: Report) -> Figure:
    """What INT8 in one segment alone changes."""
    alone, excluded = report["tuning"]["alone"], report["plan"]["kept"]
    canvas, axes = plots.figure(1.0 + 0.5 * len(alone))
    bars = (
        ("other exit", "exit", [1 - one["exit_agreement"] for one in alone.values()]),
        ("other label", "label", [1 - one["label_agreement"] for one in alone.values()]),
        ("distance", "distance", [one["total_variation"] for one in alone.values()]),
    )
    for place, (label, colour, values) in enumerate(bars):
        lines = np.arange(len(alone)) + 0.26 * (place - 1)
        axes.barh(lines, 100 * np.array(values), 0.24, color=COLOURS[colour], label=label)
    names = [f"{name} (excluded)" if name in excluded else name for name in alone]
    axes.set_yticks(range(len(alone)), names, fontsize=plots.SMALL)
    axes.invert_yaxis()
    axes.set_xlabel("changed against float32, %")
    axes.grid(True, axis="x")
    plots.legend(axes)
    return canvas


@drawn
def exits(report: Report) -> Figure:
    """Where the answers come from in float32, in INT8 and, where it differs from that, in the plan."""
    found, excluded = report["held_out"]["forms"]["early exits"], report["plan"]["kept"]
    shown = [variant for variant in VARIANTS if variant != "plan" or excluded]
    return plots.exit_maps(
        {VARIANTS[variant]: found[variant]["exit_histogram"] for variant in shown}, report["held_out"]["videos"]
    )
