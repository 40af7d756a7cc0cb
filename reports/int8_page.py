"""An INT8 calibration's report as rows for a terminal, and as a page with plots."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from tlee.reports import plots
from tlee.reports.pages import Rows, interval, percent, render
from tlee.reports.plots import Report, drawn

METHODS = {
    "mse": "the range with the least mean square error",
    "minmax": "the largest magnitude that occurred",
    "entropy": "the range that loses least information",
    "percentile": "the range of all magnitudes but the rarest, largest ones",
}
VERDICTS = {
    "met": "the plan meets its targets on the held-out videos",
    "missed": "the plan misses its targets on the held-out videos",
    "undecided": "{videos} held-out videos cannot tell whether the plan meets its targets",
}
LITTLE = 0.1  # of the multiply-accumulates: less than any board gains by
HIGHER = "build with another --precision, or give more videos or looser targets (--min-agreement)"
VARIANTS = {"fp32": "float32", "int8": "INT8", "plan": "plan"}
COLOURS = {"label": plots.VERMILION, "exit": plots.BLUE, "distance": plots.GREEN}


def page(report: Report) -> str:
    """The page of a report made by `tlee.calibration.int8.report.report_of`."""
    return render(
        "int8.html",
        report=report,
        methods=METHODS,
        excluded=excluded_text(report),
        targets=target_text(report),
        layer_rows=layer_rows(report),
        share=share_text(report),
        verdict=verdict_text(report),
        agreement_rows=agreement_rows(report),
        agreement=agreement(report),
        exits=exits(report),
        sensitivity=sensitivity(report),
        sensitivity_rows=sensitivity_rows(report),
        range_rows=lambda segment: [[tensor, f"{largest:.5g}"] for tensor, largest in segment["ranges"].items()],
        without=[(name, one["form"]) for name, one in report["segments"].items() if one["form"] is not True],
        repeated=[[path] for path in report["repeated"]],
        left_out=[[video["path"], video["problem"]] for video in report["unreadable"]],
    )


def agreement_rows(report: Report) -> Rows:
    """What float32, INT8 and the plan answer to the held-out videos; the first column is text."""
    rows = [
        [
            "",
            "accuracy",
            "95 % interval",
            "same label",
            "95 % interval",
            "same exit",
            "lost",
            "gained",
            "frames",
            "in INT8",
        ]
    ]
    for exits, variants in report["held_out"]["forms"].items():
        for variant, found in variants.items():
            changes = [percent(found["label_agreement"]), interval(found["label_agreement_interval"])]
            changes += [percent(found["exit_agreement"]), str(found["lost"]), str(found["gained"])]
            row = [f"{VARIANTS[variant]}, {exits}", percent(found["top1"]), interval(found["top1_interval"])]
            row += ["-"] * len(changes) if variant == "fp32" else changes
            rows.append([*row, f"{found['mean_frames']:.2f}", percent(found["int8_share"])])
    return rows


def sensitivity_rows(report: Report) -> Rows:
    """What INT8 in one segment, in all, and in the plan's changes on the tuning videos; two columns are text."""
    tuning, excluded = report["tuning"], report["plan"]["kept"]
    rows = [["in INT8", "in the plan", "accuracy", "same label", "same exit", "distance"]]
    found = [(name, "excluded" if name in excluded else "INT8", one) for name, one in tuning["alone"].items()]
    for name, role, one in [*found, ("all", "", tuning["whole"]), ("plan", "", tuning["planned"])]:
        if one:
            shares = [percent(one[key]) for key in ("top1", "label_agreement", "exit_agreement")]
            rows.append([name, role, *shares, f"{one['total_variation']:.4f}"])
    return rows


def layer_rows(report: Report) -> Rows:
    """The layers in higher precision of segments that have others in INT8; two columns are text."""
    layers = report["plan"]["layers"]
    return [["segment", "layer"], *([segment, layer] for segment, own in layers.items() for layer in own)]


def excluded_text(report: Report) -> str:
    """Which segments the plan excludes from INT8, of how many that have a variant, and which layers of others."""
    excluded, of = report["plan"]["kept"], len(report["tuning"]["alone"])
    text = f"{', '.join(excluded)} ({len(excluded)} of {of} segments)" if excluded else f"none of {of} segments"
    parts = [f"{len(layers)} of {name}" for name, layers in report["plan"]["layers"].items()]
    return f"{text}; single layers: {', '.join(parts)}" if parts else text


def share_text(report: Report) -> str:
    """How much of the work the plan has in INT8; says so where that is next to nothing."""
    early, none = (report["held_out"]["forms"][exits]["plan"]["int8_share"] for exits in ("early exits", "no exit"))
    text = f"in INT8: {percent(early)} of the multiply-accumulates, {percent(none)} without exits"
    return text if early >= LITTLE else f"{text}: INT8 changes (almost) nothing, {HIGHER}"


def verdict_text(report: Report) -> str:
    """Whether the held-out videos show that the plan meets its targets."""
    found, videos = report["held_out"]["forms"]["early exits"]["plan"], report["held_out"]["videos"]
    label = f"{percent(found['label_agreement'])} ({interval(found['label_agreement_interval'])})"
    verdict = VERDICTS[report["plan"]["verdict"]].format(videos=videos)
    return f"{verdict}: {target_text(report)}; found: {label} of the labels"


def target_text(report: Report) -> str:
    targets = report["targets"]
    agreement, drop = f"{100 * targets['label_agreement']:g} %", f"{100 * targets['top1_drop']:g}"
    return f"{agreement} of the labels as in float32, at most {drop} points of accuracy lost"


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
    found, partly = report["held_out"]["forms"]["early exits"], report["plan"]["kept"] or report["plan"]["layers"]
    shown = [variant for variant in VARIANTS if variant != "plan" or partly]
    maps = {VARIANTS[variant]: found[variant]["exit_histogram"] for variant in shown}
    return plots.exit_maps(maps, report["held_out"]["videos"])
