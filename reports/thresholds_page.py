"""A tuning's report as one page of HTML that needs nothing else."""

from __future__ import annotations

from html import escape
from typing import Any

from tlee.reports import thresholds_plots as plots
from tlee.reports.evaluation_plots import layer_name
from tlee.reports.html import document, html_table
from tlee.reports.tables import cost_unit, figures, percent

Rows = list[list[str]]


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.calibration.thresholds.report.report_of`."""
    parts = [_head(report), _front(report), _points(report), _temperatures(report), _simulation(report), _odd(report)]
    return document(f"{report['subject']['name']}: thresholds", parts)


def _head(report: dict[str, Any]) -> str:
    subject, data, metric = report["subject"], report["data"], report["metric"]
    videos = data["videos"]
    apart = f"{data['held_out']}" if data["held_out"] else f"{percent(data['share'])} of them, drawn by class"
    facts = {
        "bundle": f"{subject['path']}, segments in {subject['precision']}",
        "SHA-256": f"{subject['sha256']} (of the manifest, before)",
        "model": f"{subject['backbone']}, branches {subject['branch']}, feature reuse {subject['frm']}, "
        f"gate {subject['gate']}, {subject['classes']} classes",
        "costs": "multiply-accumulates" if metric["device"] is None else f"{metric['unit']} on {metric['device']}",
        "videos": f"{data['source']} ({data['format']}): {videos['tuning']} to choose by",
        "held out": f"{apart}: {videos['held_out']}, on which every number here was measured unless it says otherwise",
        "seed": str(data["seed"]),
    }
    rows = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    return f"<h1>{escape(subject['name'])}: thresholds</h1>\n<dl>{rows}</dl>\n"


def _front(report: dict[str, Any]) -> str:
    return (
        "<h2>Accuracy against cost</h2>\n"
        f"<figure>{plots.front(report)}</figure>\n"
        '<p class="soft">Every setting of the rivals is a dot. Band: 95 % interval (Wilson) of the front; dashed: what '
        "its policies reached on the videos that they were chosen by.</p>\n"
        f"{html_table(rival_rows(report))}\n"
        '<p class="soft">Dominated: the front is as accurate or more at no more cost; between two of its points, and '
        "between the last one and no exit, by a straight line, as if they were taken by turns. Margin: points of "
        "accuracy that the front is above a setting, the least of all settings. The published rule has one threshold "
        "for first frames and one for layers, the gate stops at 0.5.</p>\n"
    )


def _points(report: dict[str, Any]) -> str:
    parts = []
    for name, point in report["points"].items():
        rows = [["", *(layer_name(b, report["subject"]["exits"]) for b in range(report["subject"]["exits"]))]]
        rows += [[kind, *(f"{value:.6g}" for value in values)] for kind, values in point["thresholds"].items()]
        parts.append(
            f"<details><summary>{escape(name)}: thresholds, and where its answers come from</summary>"
            f"{html_table(rows)}<figure>{plots.exit_map(point['held_out'])}</figure></details>\n"
        )
    return (
        f"<h2>Operating points</h2>\n{html_table(point_rows(report))}\n"
        '<p class="soft">Run through the plain runtime. When tuned: accuracy on the videos that the point was chosen '
        f"by, where its limits were held.</p>\n{''.join(parts)}"
    )


def _temperatures(report: dict[str, Any]) -> str:
    return (
        "<h2>Temperatures</h2>\n<p>Distance of confidence and accuracy, by exit: the expected calibration error on the "
        f"held-out videos.</p>\n<figure>{plots.temperatures(report)}</figure>\n"
    )


def _simulation(report: dict[str, Any]) -> str:
    found = report["simulation"]
    return (
        "<h2>Simulation</h2>\n<p>Policies were searched in simulation, on recorded states of the tuning videos, "
        f"{found['states']:.0f} a video. What an exit sees depends on where earlier frames left, so each state is a "
        "frame with all exits left at before; a policy is followed exactly as long as its states were recorded; from "
        "the first one on that was not, the most similar one is a guess. No accuracy can be further off than the share "
        f"of videos guessed. {escape(simulation_text(report).capitalize())}.</p>\n"
    )


def _odd(report: dict[str, Any]) -> str:
    rows = [[video["path"], video["problem"]] for video in report["data"]["unreadable"]]
    rows += [[path, "has the frames of a video to choose by"] for path in report["data"]["repeated"]]
    return f"<h2>Videos left out</h2>\n{html_table([['path', 'problem'], *rows], text=2)}\n" if rows else ""


def point_rows(report: dict[str, Any]) -> Rows:
    """A row per operating point, the last one no exit; the first column is text."""
    unit, name = cost_unit(report["metric"])
    rows = [["point", "accuracy", "95 % interval", name, "times cheaper", "share of MACs", "frames", "when tuned"]]
    for point, numbers in report["points"].items():
        held, tuning = numbers["held_out"], numbers["tuning"]
        low, high = held["top1_interval"]
        cheaper = report["metric"]["full"] / held["cost"]
        row = [point, percent(held["top1"]), f"{100 * low:.1f} to {100 * high:.1f}", figures(held["cost"] / unit)]
        row += [f"{cheaper:.1f}", percent(held["share_of_macs"]), f"{held['mean_frames']:.2f}", percent(tuning["top1"])]
        rows.append(row)
    full = report["full"]
    rows.append(["no exit", percent(full["held_out"]), "", figures(report["metric"]["full"] / unit), "1.0"])
    rows[-1] += [percent(1.0), f"{report['subject']['frames']:.2f}", percent(full["tuning"])]
    return rows


def rival_rows(report: dict[str, Any]) -> Rows:
    """A row per rival; the first column is text."""
    rows = [["on the held-out videos", "settings", "dominated by the front", "least margin, points"]]
    for name, rival in report["rivals"].items():
        margin = "none as cheap" if rival["margin"] is None else f"{rival['margin']:+.1f}"
        rows.append([name, str(len(rival["points"]["top1"])), percent(rival["dominated"]), margin])
    return rows


def simulation_text(report: dict[str, Any]) -> str:
    """How far what was simulated and what was run agree, a sentence."""
    found = report["simulation"]
    runs = [max(point["run_error"].values()) for point in report["points"].values()]
    return (
        f"simulation: {percent(found['guessed_max'])} of the videos guessed at most; front really run: accuracy within "
        f"{100 * found['accuracy_error']:.2f} points, cost within {percent(found['cost_error'])}; plain runtime on the "
        f"held-out videos: {'the same' if max(runs) < 1e-6 else f'off by {max(runs):.4f}'}"
    )
