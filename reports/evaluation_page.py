"""An evaluation's report as rows for a terminal, and as a page."""

from __future__ import annotations

from typing import Any

from tlee.modes import MODES
from tlee.reports import evaluation_plots as plots
from tlee.reports.pages import render
from tlee.reports.tables import Rows, cost_unit, figures, interval, percent

CONFUSIONS = 15


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.evaluation.report.report_of`."""
    return render(
        "evaluation.html",
        report=report,
        plots=plots,
        about_modes=MODES,
        cost_unit=cost_unit(report["subject"]["full_macs"])[1],
        mode_rows=mode_rows(report),
        class_rows=class_rows(report),
        confusion_rows=confusion_rows(report),
        left_out=left_out_rows(report["unreadable"]),
    )


def mode_rows(report: dict[str, Any]) -> Rows:
    """A row per mode; the first column is text."""
    unit, name = cost_unit(report["subject"]["full_macs"])
    rows = [["mode", "top-1", "95 % interval", "top-5", "mAP", "frames", "layer", name, "share of MACs"]]
    for mode, found in report["modes"].items():
        row = [mode, percent(found["top1"]), interval(found["top1_interval"]), percent(found["top5"])]
        row += [percent(found["mean_average_precision"]), f"{found['mean_frames']:.2f}"]
        row += [f"{found['mean_frame_layer']:.2f}", figures(found["mean_macs"] / unit), percent(found["share_of_macs"])]
        rows.append(row)
    return rows


def class_rows(report: dict[str, Any]) -> Rows:
    """A row per class; the first column is text."""
    rows = [["class", "videos", "top-1", "without exits", "frames", "share of MACs"]]
    for row in report["per_class"]:
        accuracies = [percent(row["top1"]), percent(row["top1_no_exit"])]
        costs = [f"{row['mean_frames']:.2f}", percent(row["share_of_macs"])]
        rows.append([row["class"], str(row["videos"]), *accuracies, *costs])
    return rows


def confusion_rows(report: dict[str, Any]) -> Rows:
    """The most frequent mistakes; the first two columns are text. Only the head if there are none."""
    counts, classes = report["confusion"], report["classes"]
    wrong = [(n, t, p) for t, row in enumerate(counts) for p, n in enumerate(row) if n and t != p]
    worst = sorted(wrong, key=lambda item: -item[0])[:CONFUSIONS]
    return [["true", "predicted", "videos"], *([classes[t], classes[p], str(n)] for n, t, p in worst)]


def left_out_rows(unreadable: list[dict[str, str]]) -> Rows:
    """A row per video that gave no answer, without a head."""
    return [[video["path"], video["problem"]] for video in unreadable]
