"""A tuning's report as rows for a terminal, and as a page."""

from __future__ import annotations

from typing import Any

from tlee.reports import thresholds_plots as plots
from tlee.reports.evaluation_page import left_out_rows
from tlee.reports.pages import render
from tlee.reports.plots import exit_name
from tlee.reports.tables import Rows, cost_unit, figures, interval, percent


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.calibration.thresholds.report.report_of`."""
    repeated = [[path, "has the frames of a video to choose by"] for path in report["data"]["repeated"]]
    return render(
        "thresholds.html",
        report=report,
        plots=plots,
        baseline_rows=baseline_rows(report),
        point_rows=point_rows(report),
        threshold_rows=threshold_rows,
        simulation_text=simulation_text(report),
        left_out=left_out_rows(report["data"]["unreadable"]) + repeated,
    )


def point_rows(report: dict[str, Any]) -> Rows:
    """A row per operating point, the last one no exit; the first column is text."""
    full, frames = report["metric"]["full"], report["subject"]["frames"]
    unit, name = cost_unit(full, report["metric"]["unit"])
    rows = [["point", "accuracy", "95 % interval", name, "times cheaper", "share of MACs", "frames", "when tuned"]]
    for point, found in report["points"].items():
        held = found["held_out"]
        row = [point, percent(held["top1"]), interval(held["top1_interval"]), figures(held["cost"] / unit)]
        row += [f"{full / held['cost']:.1f}", percent(held["share_of_macs"]), f"{held['mean_frames']:.2f}"]
        rows.append([*row, percent(found["tuning"]["top1"])])
    held_out, tuning = (percent(report["full"][part]) for part in ("held_out", "tuning"))
    rows.append(["no exit", held_out, "", figures(full / unit), "1.0", percent(1.0), f"{frames:.2f}", tuning])
    return rows


def threshold_rows(report: dict[str, Any], point: dict[str, Any]) -> Rows:
    """A row per kind of threshold of an operating point, a column per exit; the first column is text."""
    exits = report["subject"]["exits"]
    kinds = point["thresholds"].items()
    return [
        ["", *(exit_name(b, exits) for b in range(exits))],
        *([kind, *(f"{value:.6g}" for value in values)] for kind, values in kinds),
    ]


def baseline_rows(report: dict[str, Any]) -> Rows:
    """A row per baseline; the first column is text."""
    rows = [["on the held-out videos", "settings", "dominated by the front", "least margin, points"]]
    for name, found in report["baselines"].items():
        margin = "none as cheap" if found["margin"] is None else f"{found['margin']:+.1f}"
        rows.append([name, str(len(found["points"]["top1"])), percent(found["dominated"]), margin])
    return rows


def simulation_text(report: dict[str, Any]) -> str:
    """How closely what was simulated and what was run agree, a sentence."""
    found = report["simulation"]
    off = max(max(point["run_error"].values()) for point in report["points"].values())
    return (
        f"simulation: {percent(found['guessed_max'])} of the videos guessed at most; front really run: accuracy within "
        f"{100 * found['accuracy_error']:.2f} points, cost within {percent(found['cost_error'])}; plain runtime on the "
        f"held-out videos: {'the same' if off < 1e-6 else f'off by {off:.4f}'}"
    )
