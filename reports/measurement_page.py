"""A measurement, or a comparison of two, as a page."""

from __future__ import annotations

from typing import Any

from tlee.modes import MODES, PLAIN
from tlee.reports import measurement_plots as plots
from tlee.reports.measurement_text import rivals
from tlee.reports.pages import Rows, figures, percent, quantity, render
from tlee.reports.plots import Report, exit_name

BUSY = 0.1  # cores that other programs kept busy, from where the page warns
# Its frames are not averaged here, unlike in an evaluation.
ABOUT = {**MODES, PLAIN: "Every frame runs through the uncut backbone to the tail, reusing nothing."}
ACCURACY_SOURCES = {
    "videos": "Accuracy on the videos measured.",
    "tuning": "Accuracy as in the bundle, from its tuning.",
}
CONDITIONS = ("device", "backend", "exit_graphs", "precision")
TIMES = {"median": "median, ms", "p90": "p90, ms", "p99": "p99, ms"}


def page(report: Report) -> str:
    """The page of a report of `tlee-bench`, format 1."""
    measured = {mode["mode"] for mode in report["modes"]}
    sources = [mode["answers"]["of"] for mode in report["modes"] if mode["answers"]["of"]]
    environment = report["environment"]
    versions = {**environment["system"], **environment["versions"]}
    if environment["background_cpu"] is not None:
        versions["other programs"] = f"{environment['background_cpu']:.2g} cores busy"
    return render(
        "measurement.html",
        report=report,
        plots=plots,
        doubts=doubts(report),
        about=_about(report),
        about_modes={mode: text for mode, text in ABOUT.items() if mode in measured},
        accuracy_source=ACCURACY_SOURCES.get(sources[0], "") if sources else "",
        mode_rows=mode_rows(report),
        rival_lines=rivals(report),
        latency_rows=latency_rows(report),
        energy_rows=energy_rows(report),
        change_rows=[[f"{change['time']:.1f} s", change["what"]] for change in report["power"]["changes"]],
        graph_rows=graph_rows(report),
        decision_rows=decision_rows(report),
        versions=versions,
        blocks=_blocks(report["modes"]),
    )


def comparison_page(comparison: Report) -> str:
    """The page of a comparison of two reports, format 1."""
    sides = [comparison[side] for side in "ab"]
    side_rows = [
        ["", "first", "second"],
        ["file", *(side["file"] for side in sides)],
        ["bundle", *(f"{side['bundle']['name']} {side['bundle']['sha256'][:12]}" for side in sides)],
        *([key.replace("_", " "), *(side["environment"][key] for side in sides)] for key in CONDITIONS),
        ["measured", *(side["started"] for side in sides)],
    ]
    ratio_rows = [["mode", "metric", "verdict", "first", "second", "second over first"]]
    for row in comparison["rows"]:
        quantities = [quantity(row[key]) for key in ("a", "b", "ratio")]
        ratio_rows.append([row["name"], row["metric"], row["verdict"], *quantities])
    return render(
        "comparison.html",
        comparison=comparison,
        plots=plots,
        names=[side["bundle"]["name"] for side in sides],
        side_rows=side_rows,
        ratio_rows=ratio_rows,
    )


def doubts(report: Report) -> list[str]:
    """What makes the numbers doubtful, a sentence each."""
    found = []
    if report["power"]["throttled"]:
        found.append(f"The device throttled: {'; '.join(report['power']['throttled'])}.")
    others = report["environment"]["background_cpu"]
    if others is not None and others > BUSY:
        found.append(f"Other programs kept {others:.2g} cores busy while this was measured.")
    restless = [mode["name"] for mode in report["modes"] if not mode["warm_up"]["steady"]]
    if restless:
        found.append(f"Never settled, so no warm-up was left out: {', '.join(restless)}.")
    return found


def mode_rows(report: Report) -> Rows:
    """A row per mode; the first column is text."""
    rows = [["mode", "accuracy", "computation", "frames", "videos/s", "runs"]]
    for mode in report["modes"]:
        answers, runs = mode["answers"], str(mode["latency"]["runs"])
        frames = "-" if answers["frames"] is None else f"{answers['frames']:.2f}"
        shares = percent(answers["accuracy"]), percent(answers["share"])
        rows.append([mode["name"], *shares, frames, figures(mode["rate"]["videos"]), runs])
    return rows


def latency_rows(report: Report) -> Rows:
    """A row per mode; the first column is text."""
    keys = {**TIMES, "mean": "mean, ms"}
    rows = [[mode["name"], *(quantity(mode["latency"][key]) for key in keys)] for mode in report["modes"]]
    return [["mode", *keys.values()], *rows]


def energy_rows(report: Report) -> Rows:
    """A row per mode whose energy was measured; the first column is text."""
    rows = [["mode", "mJ per video, gross", "net", "mJ per frame, gross", "net", "W"]]
    for mode in report["modes"]:
        if mode["energy"]:
            per_video, per_frame = mode["energy"], mode["energy"]["per_frame"]
            row = [mode["name"], *(quantity(per_video[key]) for key in ("gross", "net"))]
            rows.append([*row, *map(figures, (per_frame["gross"], per_frame["net"], per_video["watts"]))])
    return rows


def graph_rows(report: Report) -> Rows:
    """A row per segment or fused exit; the first column is text."""
    energy = any(graph["energy"] for graph in report["graphs"])
    rows = [["graph", *TIMES.values(), "runs", *(["mJ, gross", "net"] if energy else [])]]
    for graph in report["graphs"]:
        used = graph["energy"] or {"gross": None, "net": None}
        costs = [figures(used["gross"]), figures(used["net"])] if energy else []
        rows.append([graph["name"], *_timing(graph["latency"]), *costs])
    return rows


def decision_rows(report: Report) -> Rows:
    """A row per exit; the first column is text."""
    exits = report["bundle"]["exits"]
    rows = [[exit_name(row["exit"], exits), *_timing(row["latency"])] for row in report["decisions"]]
    return [["decision at", *TIMES.values(), "runs"], *rows]


def _timing(latency: Report) -> list[str]:
    return [*(quantity(latency[key]) for key in TIMES), str(latency["runs"])]


def _about(report: Report) -> dict[str, str]:
    bundle, environment, power, load = (report[key] for key in ("bundle", "environment", "power", "load"))
    count = len(load["videos"])
    sampling = f", sampling {environment['sampling']}" if "sampling" in environment else ""  # not in older files
    videos = f"{count} video{'' if count == 1 else 's'}{', labelled' if load['labelled'] else ''}"
    return {
        "bundle": "{name}: {backbone}, {exits} exits, {frames} frames of {size} pixels".format(**bundle),
        "SHA-256": bundle["sha256"],
        "device": "{device} ({architecture}, {cores} cores, {threads} threads)".format(**environment),
        "backend": "{backend}, {exit_graphs} exits, {precision}".format(**environment),
        "releases": _pairs({**environment["system"], **environment["versions"]}),
        "clocks": _pairs(power["state"]) or "nothing known about the power mode",
        "power": _power_source(power),
        "load": "made-up frames" if load["synthetic"] else videos + sampling,
        "measured": f"{report['started']}, {figures(report['seconds'])} s",
    }


def _power_source(power: Report) -> str:
    """Where the power comes from and what it covers, or why there is none."""
    if power["source"] == "none":
        return f"none: {power['reason'] or 'no source'}"
    text = f"{power['source']}, {power['total']}"
    if power["interval"]:
        text += f", a sample every {power['interval']:g} s"
    if power["idle"]:
        text += f"; {figures(power['idle']['watts'])} W when idle"
    return text + (f"; {power['reason']}" if power["reason"] else "")


def _blocks(modes: list[Report]) -> str:
    """How many blocks each mode has, and how long they are."""
    counts = sorted({len(mode["blocks"]) for mode in modes})
    rounds = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    lengths = [block["end"] - block["start"] for mode in modes for block in mode["blocks"]]
    mean = f" of {figures(sum(lengths) / len(lengths))} s on average" if lengths else ""
    return f"{rounds} blocks per mode{mean}"


def _pairs(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())
