"""The page of an INT8 calibration's report, and its plots."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tlee.reports.evaluation_page import left_out
from tlee.reports.evaluation_plots import INK, drawn, figure, histogram_map
from tlee.reports.html import document, html_table
from tlee.reports.tables import Rows, branches_text, percent

FORMS = {"fp32": "float32", "int8": "INT8", "plan": "plan"}
# Okabe and Ito, as in the other plots.
COLOURS = {"label": "#D55E00", "exit": "#0072B2", "distance": "#009E73"}
METHODS = {
    "minmax": "the largest magnitude that occurred",
    "entropy": "the range that loses least information",
    "percentile": "the range of all magnitudes but the rarest, largest ones",
}


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.calibration.int8.report.report_of`."""
    parts = (_head, _answers, _exits, _sensitivity, _ranges, _repeated, left_out)
    return document(f"{report['subject']['name']}: INT8", (part(report) for part in parts))


def agreement_rows(report: dict[str, Any]) -> Rows:
    """What float32, INT8 and the plan answer to the held-out videos; the first column is text."""
    rows = [["", "accuracy", "95 % interval", "same label", "95 % interval", "same exit", "lost", "gained", "frames"]]
    for exits, forms in report["held_out"]["forms"].items():
        rows += [[f"{FORMS[form]}, {exits}", *_cells(form, found)] for form, found in forms.items()]
    return rows


def sensitivity_rows(report: dict[str, Any]) -> Rows:
    """What INT8 in one segment, in all and in the plan's changes on the tuning videos; the first two columns are
    text."""
    tuning, kept = report["tuning"], report["plan"]["kept"]
    rows = [["in INT8", "in the plan", "accuracy", "same label", "same exit", "distance"]]
    found = [(name, "kept out" if name in kept else "INT8", one) for name, one in tuning["alone"].items()]
    for name, role, one in [*found, ("all", "", tuning["whole"]), ("plan", "", tuning["planned"])]:
        if one:
            shares = [percent(one[key]) for key in ("top1", "label_agreement", "exit_agreement")]
            rows.append([name, role, *shares, f"{one['total_variation']:.4f}"])
    return rows


def kept_text(report: dict[str, Any]) -> str:
    """Which segments the plan keeps out of INT8, of how many that have a form."""
    kept, forms = report["plan"]["kept"], report["tuning"]["alone"]
    return f"{', '.join(kept)} ({len(kept)} of {len(forms)} segments)" if kept else f"none of {len(forms)} segments"


def target_text(report: dict[str, Any]) -> str:
    targets = report["targets"]
    agreement, drop = f"{100 * targets['label_agreement']:g} %", f"{100 * targets['top1_drop']:g}"
    return f"{agreement} of the labels as in float32, at most {drop} points of accuracy lost"


@drawn
def agreement_plot(report: dict[str, Any]) -> Figure:
    """Shares of videos with the label and the exit of float32, with 95 % intervals."""
    measures = (("early exits", "label"), ("early exits", "exit"), ("no exit", "label"))
    bars = [
        (f"{FORMS[form]}: {what}, {exits}", what, report["held_out"]["forms"][exits][form])
        for exits, what in measures
        for form in ("int8", "plan")
    ][::-1]
    canvas, axes = figure(8, 0.9 + 0.34 * len(bars))
    for place, (_, what, found) in enumerate(bars):
        share = 100 * found[f"{what}_agreement"]
        low, high = (100 * bound for bound in found[f"{what}_agreement_interval"])
        reach = [[max(0, share - low)], [max(0, high - share)]]
        axes.errorbar([share], [place], xerr=reach, fmt="o", color=COLOURS[what], capsize=3, markersize=6)
    axes.axvline(100 * report["targets"]["label_agreement"], color=INK, linewidth=1, linestyle="--", alpha=0.6)
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.set_ylim(-0.6, len(bars) - 0.4)
    axes.set_xlabel("videos as in float32, %; dashed: the target for labels")
    axes.grid(True, axis="x")
    return canvas


@drawn
def sensitivity_plot(report: dict[str, Any]) -> Figure:
    """What INT8 in one segment alone changes."""
    alone, kept = report["tuning"]["alone"], report["plan"]["kept"]
    names = list(alone)[::-1]
    canvas, axes = figure(8, 1.0 + 0.5 * len(names))
    bars = (
        ("other exit", "exit", [1 - alone[name]["exit_agreement"] for name in names]),
        ("other label", "label", [1 - alone[name]["label_agreement"] for name in names]),
        ("distance of the probabilities", "distance", [alone[name]["total_variation"] for name in names]),
    )
    for place, (label, colour, values) in enumerate(bars):
        lines = np.arange(len(names)) + 0.26 * (1 - place)
        axes.barh(lines, 100 * np.array(values), 0.24, color=COLOURS[colour], label=label)
    axes.set_yticks(range(len(names)), [f"{name} (kept)" if name in kept else name for name in names])
    axes.set_xlabel("changed against float32, %")
    axes.grid(True, axis="x")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return canvas


@drawn
def fp32_exits(report: dict[str, Any]) -> Figure:
    return _exit_map(report, "fp32")


@drawn
def int8_exits(report: dict[str, Any]) -> Figure:
    return _exit_map(report, "int8")


@drawn
def plan_exits(report: dict[str, Any]) -> Figure:
    return _exit_map(report, "plan")


def _exit_map(report: dict[str, Any], form: str) -> Figure:
    held_out = report["held_out"]
    return histogram_map(held_out["forms"]["early exits"][form]["exit_histogram"], held_out["videos"])


def _head(report: dict[str, Any]) -> str:
    subject, data, how, held_out = (report[key] for key in ("subject", "data", "calibration", "held_out"))
    split = "" if data["format"] == "folders" else f", split {data['split']}"
    own = f"of {data['held_out']}" if data["held_out"] else f"{percent(data['share'])} held out of the same"
    taken = "with the exits as below" if how["early_exit"] else "with no exit taken"
    facts = {
        "what": f"bundle {subject['path']}",
        "SHA-256": f"{subject['sha256']}, of its manifest before",
        "model": f"{subject['backbone']}, {branches_text(subject)}, "
        f"feature reuse {subject['frm']}, gate {subject['gate']}, {subject['classes']} classes",
        "ranges": f"{how['method']}: {METHODS[how['method']]}, over at most {how['samples']} sets of inputs of each "
        f"segment, drawn {taken} (seed {how['seed']})",
        "operating point": subject["point"] or "the bundle's own thresholds",
        "thresholds": "; ".join(f"{kind} {', '.join(map(str, v))}" for kind, v in subject["thresholds"].items()),
        "tuning videos": f"{report['tuning']['videos']} of {data['source']} ({data['format']}{split})",
        "held-out videos": f"{held_out['videos']}, {own}",
        "targets": target_text(report),
        "kept out of INT8": kept_text(report),
        "made with": ", ".join(f"{name} {version}" for name, version in how["versions"].items()),
    }
    rows = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    lead = " ".join(_lead(report))
    return f'<h1>{escape(subject["name"])} in INT8</h1>\n<p class="lead">{lead}</p>\n<dl>{rows}</dl>\n'


def _lead(report: dict[str, Any]) -> list[str]:
    forms = report["held_out"]["forms"]["early exits"]
    sentences = [
        f"With everything in INT8, {percent(forms['int8']['label_agreement'])} of the held-out videos get the label "
        f"that float32 gives them and {percent(forms['int8']['exit_agreement'])} answer at the same exit; "
        f"{percent(forms['int8']['top1'])} are recognised, in float32 {percent(forms['fp32']['top1'])}."
    ]
    if not report["plan"]["kept"]:
        sentences.append("The plan keeps nothing out of INT8.")
    else:
        sentences.append(
            f"The plan keeps {escape(kept_text(report))} in higher precision: then it is "
            f"{percent(forms['plan']['label_agreement'])}, {percent(forms['plan']['exit_agreement'])} and "
            f"{percent(forms['plan']['top1'])}."
        )
    if not report["plan"]["holds"]:
        sentences.append("On these videos, which it was not chosen by, the plan misses its targets.")
    return sentences


def _answers(report: dict[str, Any]) -> str:
    several = (
        "A video with several labels counts as right when any of them is named. "
        if report["held_out"]["several_labels"]
        else ""
    )
    return (
        f"<h2>Accuracy and agreement</h2>\n{html_table(agreement_rows(report))}\n"
        f'<p class="soft">On the held-out videos. {several}Same label, same exit: as float32 with the same exits; an '
        "exit is a frame and a layer. Lost and gained: videos that only float32, or only this form, names rightly. "
        "Without exits every frame runs to the tail and the last one answers. Intervals after Wilson.</p>\n"
        f"<figure>{agreement_plot(report)}</figure>\n"
    )


def _exits(report: dict[str, Any]) -> str:
    maps = [("float32", fp32_exits(report)), ("INT8", int8_exits(report))]
    if report["plan"]["kept"]:
        maps.append(("Plan", plan_exits(report)))
    figures = "".join(f"<h3>{name}</h3>\n<figure>{plot}</figure>\n" for name, plot in maps)
    return (
        "<h2>Where the answers come from</h2>\n<p>Per cent of the held-out videos that answer at a frame and an exit, "
        f"sums in brackets.</p>\n{figures}"
    )


def _sensitivity(report: dict[str, Any]) -> str:
    without = [f"{name} ({one['form']})" for name, one in report["segments"].items() if one["form"] is not True]
    rest = f" Without an INT8 form: {', '.join(without)}." if without else ""
    return (
        "<h2>Segment by segment</h2>\n<p>One segment in INT8, all others in float32, most sensitive first: on the "
        "tuning videos, by which the plan was chosen, so that these numbers are for comparing segments only. Distance: "
        f"mean total variation of the class probabilities.{rest}</p>\n<figure>{sensitivity_plot(report)}</figure>\n"
        f"{html_table(sensitivity_rows(report), text=2)}\n"
        "<p>The plan keeps segments out of INT8 in this order until the targets hold, then takes each one back where "
        "they still do. None of those kept can be taken back; not all subsets were tried.</p>\n"
    )


def _ranges(report: dict[str, Any]) -> str:
    parts = []
    for name, segment in report["segments"].items():
        if segment["form"] is True:
            rows = [["tensor", "largest magnitude"], *([t, f"{v:.5g}"] for t, v in segment["ranges"].items())]
            own = f"{segment['samples'] - segment['filled']} of {segment['given']} sets of inputs"
            filled = f", {segment['filled']} more without exits" if segment["filled"] else ""
            title = f"{name}: {len(rows) - 1} tensors, {own}{filled}"
            parts.append(f"<details><summary>{title}</summary>{html_table(rows)}</details>\n")
    return f"<h2>Ranges</h2>\n{''.join(parts)}"


def _repeated(report: dict[str, Any]) -> str:
    paths = report["repeated"]
    if not paths:
        return ""
    rows = html_table([["path"], *([path] for path in paths)])
    return f"<h2>Held-out videos with the frames of a tuning video</h2>\n<p>Left out.</p>\n{rows}\n"


def _cells(form: str, found: dict[str, Any]) -> list[str]:
    agreement = [percent(found["label_agreement"]), _interval(found["label_agreement_interval"])]
    agreement += [percent(found["exit_agreement"]), str(found["lost"]), str(found["gained"])]
    if form == "fp32":
        agreement = ["-"] * len(agreement)
    return [percent(found["top1"]), _interval(found["top1_interval"]), *agreement, f"{found['mean_frames']:.2f}"]


def _interval(bounds: list[float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"
