"""An INT8 calibration's report as rows for a terminal, and as a page."""

from __future__ import annotations

from typing import Any

from tlee.reports import int8_plots as plots
from tlee.reports.evaluation_page import left_out_rows
from tlee.reports.pages import render
from tlee.reports.tables import Rows, interval, percent

METHODS = {
    "minmax": "the largest magnitude that occurred",
    "entropy": "the range that loses least information",
    "percentile": "the range of all magnitudes but the rarest, largest ones",
}


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.calibration.int8.report.report_of`."""
    return render(
        "int8.html",
        report=report,
        plots=plots,
        methods=METHODS,
        excluded=excluded_text(report),
        targets=target_text(report),
        agreement_rows=agreement_rows(report),
        sensitivity_rows=sensitivity_rows(report),
        range_rows=range_rows,
        without=[(name, one["form"]) for name, one in report["segments"].items() if one["form"] is not True],
        repeated=[[path] for path in report["repeated"]],
        left_out=left_out_rows(report["unreadable"]),
    )


def agreement_rows(report: dict[str, Any]) -> Rows:
    """What float32, INT8 and the plan answer to the held-out videos; the first column is text."""
    rows = [["", "accuracy", "95 % interval", "same label", "95 % interval", "same exit", "lost", "gained", "frames"]]
    for exits, variants in report["held_out"]["forms"].items():
        for variant, found in variants.items():
            changes = [percent(found["label_agreement"]), interval(found["label_agreement_interval"])]
            changes += [percent(found["exit_agreement"]), str(found["lost"]), str(found["gained"])]
            row = [f"{plots.VARIANTS[variant]}, {exits}", percent(found["top1"]), interval(found["top1_interval"])]
            row += ["-"] * len(changes) if variant == "fp32" else changes
            rows.append([*row, f"{found['mean_frames']:.2f}"])
    return rows


def sensitivity_rows(report: dict[str, Any]) -> Rows:
    """What INT8 in one segment, in all, and in the plan's changes on the tuning videos; two columns are text."""
    tuning, excluded = report["tuning"], report["plan"]["kept"]
    rows = [["in INT8", "in the plan", "accuracy", "same label", "same exit", "distance"]]
    found = [(name, "excluded" if name in excluded else "INT8", one) for name, one in tuning["alone"].items()]
    for name, role, one in [*found, ("all", "", tuning["whole"]), ("plan", "", tuning["planned"])]:
        if one:
            shares = [percent(one[key]) for key in ("top1", "label_agreement", "exit_agreement")]
            rows.append([name, role, *shares, f"{one['total_variation']:.4f}"])
    return rows


def range_rows(segment: dict[str, Any]) -> Rows:
    """A row per tensor, without a head."""
    return [[tensor, f"{largest:.5g}"] for tensor, largest in segment["ranges"].items()]


def excluded_text(report: dict[str, Any]) -> str:
    """Which segments the plan excludes from INT8, of how many that have a variant."""
    excluded, of = report["plan"]["kept"], len(report["tuning"]["alone"])
    return f"{', '.join(excluded)} ({len(excluded)} of {of} segments)" if excluded else f"none of {of} segments"


def target_text(report: dict[str, Any]) -> str:
    targets = report["targets"]
    agreement, drop = f"{100 * targets['label_agreement']:g} %", f"{100 * targets['top1_drop']:g}"
    return f"{agreement} of the labels as in float32, at most {drop} points of accuracy lost"
