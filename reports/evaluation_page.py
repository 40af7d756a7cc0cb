"""A report as one page of HTML."""

from __future__ import annotations

from html import escape
from typing import Any

from tlee.modes import EARLY, MODES, NONE
from tlee.reports import evaluation_plots as plots
from tlee.reports.html import document, html_table
from tlee.reports.tables import branches_text, class_rows, confusion_rows, mac_unit, mode_rows, percent


def page(report: dict[str, Any]) -> str:
    """The page of a report made by `tlee.evaluation.report.report_of`."""
    parts = [_head(report), _modes(report), _exits(report), _classes(report), _confusion(report), left_out(report)]
    return document(f"{report['subject']['name']}: evaluation", parts)


def _head(report: dict[str, Any]) -> str:
    subject, data, modes = report["subject"], report["data"], report["modes"]
    split = "" if data["format"] == "folders" else f", split {data['split']}"
    facts = {
        "what": f"{subject['kind']} {subject['path']}",
        "SHA-256": subject["sha256"],
        "model": f"{subject['backbone']}, {branches_text(subject)}, "
        f"feature reuse {subject['frm']}, gate {subject['gate']}, {subject['classes']} classes",
        "frames": f"{subject['frames']} per video, in order {subject['order']}",
        "thresholds": "; ".join(f"{kind} {', '.join(map(str, v))}" for kind, v in subject["thresholds"].items()),
        "videos": f"{report['videos']} of {data['source']} ({data['format']}{split})",
    }
    for fact, key in (("operating point", "point"), ("precision", "precision")):
        if subject.get(key):
            facts[fact] = subject[key]
    rows = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    early, none = modes[EARLY], modes[NONE]
    lead = (
        f"With early exits {percent(early['top1'])} of the videos are recognised, with "
        f"{percent(early['share_of_macs'])} of the computation and {early['mean_frames']:.1f} of {subject['frames']} "
        f"frames on average; without, {percent(none['top1'])}."
    )
    return f'<h1>{escape(subject["name"])}</h1>\n<p class="lead">{lead}</p>\n<dl>{rows}</dl>\n'


def _modes(report: dict[str, Any]) -> str:
    notes = "".join(f"<dt>{mode}</dt><dd>{text}</dd>" for mode, text in MODES.items())
    several = (
        "A video with several labels counts as right when any of them is named. " if report["several_labels"] else ""
    )
    return (
        f"<h2>Accuracy and computation</h2>\n{html_table(mode_rows(report))}\n"
        f'<p class="soft">{several}Intervals after Wilson. Layer: mean of where the used frames left, 0 the first '
        "branch. MACs: multiply-accumulates of convolutions and linear layers per video, their share of every frame to "
        f"the tail.</p>\n<figure>{plots.accuracy_and_costs(report)}</figure>\n"
        '<p class="soft">Bars: 95 % intervals. Thin lines: fixed exits, a dot for each number of frames.</p>\n'
        f"<dl>{notes}</dl>\n"
    )


def _exits(report: dict[str, Any]) -> str:
    last = report["modes"][EARLY]["ran_to_last_frame"]
    unit = mac_unit(report["subject"]["full_macs"])[1]
    return (
        "<h2>Where the answers come from</h2>\n<p>With early exits, per cent of the videos that answer at a frame and "
        f"an exit, sums in brackets. {percent(last)} needed the last frame.</p>\n"
        f"<figure>{plots.exit_map(report)}</figure>\n"
        "<h2>Fixed exits</h2>\n<p>Every frame leaves at one exit and no other is evaluated: top-1 accuracy of the "
        f"answer after each frame, in per cent, and below it its {unit}.</p>\n"
        f"<figure>{plots.fixed_exit_map(report)}</figure>\n"
    )


def _classes(report: dict[str, Any]) -> str:
    rows, shown = report["per_class"], plots.hardest(report["per_class"])
    which = "all classes" if len(shown) == len(rows) else f"the {len(shown)} of {len(rows)} with the lowest accuracy"
    first = " A video with several labels stands under the first." if report["several_labels"] else ""
    return (
        f"<h2>Classes</h2>\n<p>With early exits and without, {which}; number of videos in brackets.{first}</p>\n"
        f"<figure>{plots.class_plot(report)}</figure>\n"
        f"<details><summary>All {len(rows)} classes as a table</summary>{html_table(class_rows(report))}</details>\n"
    )


def _confusion(report: dict[str, Any]) -> str:
    rows = confusion_rows(report)
    frequent = f"<p>Most frequent mistakes:</p>{html_table(rows, text=2)}\n" if rows[1:] else "<p>No mistakes.</p>\n"
    numbers = "" if len(report["classes"]) <= plots.NAMED else " Classes by number."
    plot = plots.confusion_map(report)
    return f"<h2>Confusion</h2>\n<p>With early exits.{numbers}</p>\n<figure>{plot}</figure>\n{frequent}"


def left_out(report: dict[str, Any]) -> str:
    """The videos that gave no answer; nothing where there are none."""
    rows = [[video["path"], video["problem"]] for video in report["unreadable"]]
    if not rows:
        return ""
    return f"<h2>Videos left out</h2>\n{html_table([['path', 'problem'], *rows], text=2)}\n"
