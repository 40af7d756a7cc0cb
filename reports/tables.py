"""A report's numbers as rows of text under a head, for the terminal and the page."""

from __future__ import annotations

import math
from typing import Any

CONFUSIONS = 15
Rows = list[list[str]]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def branches_text(subject: dict[str, Any]) -> str:
    """A model's branches, for a page's head."""
    count = subject["branches"]
    return f"{count} branches ({subject['branch']})" if count else "no branches"


def mac_unit(full: int) -> tuple[float, str]:
    """A unit in which the full computation is easily read, and its name.

    Example:
        >>> mac_unit(47_479_680)
        (1000000.0, 'MMACs')
    """
    return (1e9, "GMACs") if full >= 1e9 else (1e6, "MMACs")


def cost_unit(metric: dict[str, Any]) -> tuple[float, str]:
    """What to divide costs of a metric (`unit`; `full`, of the full computation) by, and the name of what comes out."""
    return mac_unit(metric["full"]) if metric["unit"] == "MACs" else (1.0, metric["unit"])


def figures(value: float) -> str:
    """A positive number with three figures, or all before the point.

    Example:
        >>> figures(0.0712), figures(5.0), figures(4321.9)
        ('0.0712', '5.00', '4322')
    """
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def mode_rows(report: dict[str, Any]) -> Rows:
    """A row per mode; the first column is text."""
    unit, name = mac_unit(report["subject"]["full_macs"])
    rows = [["mode", "top-1", "95 % interval", "top-5", "mAP", "frames", "layer", name, "share of MACs"]]
    for mode, numbers in report["modes"].items():
        low, high = numbers["top1_interval"]
        rows.append(
            [
                mode,
                percent(numbers["top1"]),
                f"{100 * low:.1f} to {100 * high:.1f}",
                "-" if numbers["top5"] is None else percent(numbers["top5"]),
                percent(numbers["mean_average_precision"]),
                f"{numbers['mean_frames']:.2f}",
                f"{numbers['mean_frame_layer']:.2f}",
                figures(numbers["mean_macs"] / unit),
                percent(numbers["share_of_macs"]),
            ]
        )
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
