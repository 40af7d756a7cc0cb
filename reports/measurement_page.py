"""A measurement, or a comparison of two, as one page of HTML that needs nothing else.

Every text of a report is shown as it is: nothing in a report can become markup.
"""

import math
import re
from html import escape
from typing import Any

from tlee.modes import MODES, PLAIN
from tlee.reports import measurement_plots as plots
from tlee.reports.html import document, html_table
from tlee.reports.svg import layer_name

Report = dict[str, Any]
Rows = list[list[str]]

BUSY = 0.1  # cores that other programs kept busy, from where the page warns
ALARM = "border-left: 0.4rem solid #EE6677; padding-left: 0.8rem"
REMS = 9.5  # points of a plot per rem of the page: the plots' text is as large as the page's
# Its frames are not averaged here, unlike in an evaluation.
ABOUT = dict(MODES, **{PLAIN: "Every frame runs through the uncut backbone to the tail, reusing nothing."})


def page(report: Report) -> str:
    """The page of a report of `tlee-bench`, format 1."""
    parts = (_head, _modes, _spread, _answers, _power, _parts, _exits, _graphs, _cold, _sequence, _environment, _how)
    return document("{}: measurement".format(report["bundle"]["name"]), (part(report) for part in parts))


def comparison_page(comparison: Report) -> str:
    """The page of a comparison of two reports, format 1."""
    bundles = [comparison[side]["bundle"]["name"] for side in "ab"]
    title = " and ".join(bundles if bundles[0] != bundles[1] else bundles[:1])
    parts = (_sides, _ratios)
    return document(f"{title}: comparison", (part(comparison) for part in parts))


def _head(report: Report) -> str:
    bundle, environment, power = report["bundle"], report["environment"], report["power"]
    threads = "{} cores, {} threads".format(environment["cores"], environment["threads"])
    facts = {
        "bundle": "{name}: {backbone}, {exits} exits, {frames} frames of {size} pixels".format(**bundle),
        "SHA-256": bundle["sha256"],
        "device": "{} ({}, {})".format(environment["device"], environment["architecture"], threads),
        "backend": "{}, fused exits {}, {}".format(
            environment["backend"], environment["exit_graphs"], environment["precision"]
        ),
        "releases": _pairs({**environment["system"], **environment["versions"]}),
        "clocks": _pairs(power["state"]) or "nothing known about the power mode",
        "power": power_source(power),
        "load": load(report),
        "measured": "{}, {} s".format(report["started"], figures(report["seconds"])),
    }
    alarms = "".join(f'<p class="lead" style="{ALARM}">{escape(text)}</p>\n' for text in doubts(report))
    title = "<h1>{}: measurement</h1>\n".format(escape(bundle["name"]))
    return f"{title}{alarms}{_facts(facts)}\n"


def doubts(report: Report) -> list[str]:
    """What makes the numbers doubtful, a sentence each."""
    found = []
    if report["power"]["throttled"]:
        found.append("The device throttled: {}.".format("; ".join(report["power"]["throttled"])))
    others = report["environment"]["others"]
    if others is not None and others > BUSY:
        found.append(f"Other programs kept {others:.2g} cores busy while this was measured.")
    restless = [mode["name"] for mode in report["modes"] if not mode["warm_up"]["steady"]]
    if restless:
        found.append("Never settled, so no warm-up was left out: {}.".format(", ".join(restless)))
    return found


def power_source(power: Report) -> str:
    """Where the power comes from and what it covers, or why there is none."""
    if power["source"] == "none":
        return "none: {}".format(power["reason"] or "no source")
    text = "{}, {}".format(power["source"], power["total"])
    if power["interval"]:
        text += ", a sample every {:g} s".format(power["interval"])
    if power["idle"]:
        text += "; {} W when idle".format(figures(power["idle"]["watts"]))
    return text + ("; {}".format(power["reason"]) if power["reason"] else "")


def load(report: Report) -> str:
    """What was recognised, for people."""
    videos = report["load"]["videos"]
    if report["load"]["synthetic"]:
        return "made-up frames"
    return "{} video{}{}".format(
        len(videos), "" if len(videos) == 1 else "s", ", labelled" if report["load"]["labelled"] else ""
    )


def _modes(report: Report) -> str:
    energy = energy_rows(report)
    tables = [mode_rows(report), latency_rows(report)] + ([energy] if energy[1:] else [])
    first = next((mode["answers"]["of"] for mode in report["modes"] if mode["answers"]["of"]), None)
    source = {"videos": "Accuracy on the videos measured.", "tuning": "Accuracy as in the bundle, from its tuning."}
    net = " Gross: all that the source covers; net: above idle." if energy[1:] else ""
    notes = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(ABOUT[name])}</dd>"
        for name in MODES
        if any(mode["mode"] == name for mode in report["modes"])
    )
    return (
        "<h2>Modes</h2>\n{}\n"
        '<p class="soft">In brackets 95 % intervals. {} Computation: multiply-accumulates, as a share of every frame '
        "to the tail. Runs of the warm-up are left out.{}</p>\n<dl>{}</dl>\n"
    ).format("".join(map(html_table, tables)), source.get(first or "", ""), net, notes)


def mode_rows(report: Report) -> Rows:
    """A row per mode; the first column is text."""
    rows = [["mode", "accuracy", "computation", "frames", "videos/s", "runs"]]
    for mode in report["modes"]:
        answers = mode["answers"]
        row = [mode["name"], _percent(answers["accuracy"]), _percent(answers["share"])]
        row.append("-" if answers["frames"] is None else "{:.2f}".format(answers["frames"]))
        rows.append([*row, figures(mode["rate"]["videos"]), str(mode["latency"]["runs"])])
    return rows


def latency_rows(report: Report) -> Rows:
    """A row per mode; the first column is text."""
    rows = [["mode", "median, ms", "p90, ms", "p99, ms", "mean, ms"]]
    for mode in report["modes"]:
        rows.append([mode["name"], *(quantity(mode["latency"][key]) for key in ("median", "p90", "p99", "mean"))])
    return rows


def energy_rows(report: Report) -> Rows:
    """A row per mode whose energy was measured; the first column is text."""
    rows = [["mode", "mJ per video, gross", "net", "mJ per frame, gross", "net", "W"]]
    for mode in report["modes"]:
        energy = mode["energy"]
        if energy:
            row = [mode["name"], quantity(energy["gross"]), quantity(energy["net"])]
            row += [figures(energy["per_frame"]["gross"]), figures(energy["per_frame"]["net"])]
            rows.append([*row, figures(energy["watts"])])
    return rows


def _spread(report: Report) -> str:
    return (
        "<h2>Latency</h2>\n{}\n"
        '<p class="soft">How the times of single runs are spread, on a logarithmic axis. Long line: median; shorter: '
        "90th and 99th percentile. Dots: every run beyond the 1st or 99th percentile; those at one place are one "
        "dot. Nothing is cut off.</p>\n"
    ).format(_figure(plots.latencies(report), "Distributions of the latencies of all modes"))


def _answers(report: Report) -> str:
    if not plots.accuracies(report):
        return "<h2>Accuracy and cost</h2>\n<p>No accuracy is known: the videos have no labels.</p>\n"
    with_energy = [mode for mode in report["modes"] if mode["energy"]]
    if plots.accuracies(report) and any(mode["energy"] for mode in plots.accuracies(report)):
        title, note = "Accuracy and energy", "Bars: 95 % intervals of the energy."
        if len(with_energy) < len(report["modes"]):
            note += " Modes whose energy is not known are left out."
    else:
        title, note = "Accuracy and latency", "Bars: 95 % intervals of the latency. No energy was measured."
    drawn = _figure(plots.answers(report), title)
    return f'<h2>{title}</h2>\n{drawn}\n<p class="soft">{note}</p>\n'


def _power(report: Report) -> str:
    power = report["power"]
    if not plots.power_is_known(report):
        reason = power["reason"] or "the source gave no samples"
        return "<h2>Power</h2>\n<p>No power was measured: {}.</p>\n".format(escape(reason.rstrip(".")))
    notes = ["Shades: blocks of the modes.", "Solid line: {}.".format(power["total"])]
    notes += ["Hatched: no samples."] if power["gaps"] else []
    notes += ["Dotted: clocks changed."] if power["changes"] else []
    notes += ["Red: throttled."] if plots.throttles(power) else []
    if len(power["samples"]["time"]) > plots.SAMPLES:
        notes.append("More samples than can be drawn: lines are medians of neighbours, bands all that they reached.")
    events = [["{:.1f} s".format(change["time"]), change["what"]] for change in power["changes"]]
    if len(events) > 12:
        table = html_table([["time", "change"], *events], text=2)
        told = f"<details><summary>{len(events)} changes of clocks</summary>{table}</details>\n"
    else:
        told = html_table([["time", "change"], *events], text=2) if events else ""
    return '<h2>Power</h2>\n{}\n<p class="soft">{}</p>\n{}'.format(
        _figure(plots.power(report), "Power and clocks over time"), escape(" ".join(notes)), told
    )


def _parts(report: Report) -> str:
    note = "Mean milliseconds of a video."
    if any(mode["overlapped"] for mode in report["modes"]):
        note += " Overlapped: frames are read beside computing, so the parts do not add up to the latency."
    drawn = _figure(plots.parts(report), "Parts of the time of a video in each mode")
    return f'<h2>Where the time goes</h2>\n{drawn}\n<p class="soft">{note}</p>\n'


def _exits(report: Report) -> str:
    if not plots.leaving(report):
        return ""
    note = "Per cent of the videos with a frame that leaves there; in brackets the sum over all frames, more than 100 "
    note += "where videos use several."
    return '<h2>Where frames leave</h2>\n{}\n<p class="soft">{}</p>\n'.format(
        _figure(plots.exit_maps(report), "Exits by frame in each mode"), note
    )


def _graphs(report: Report) -> str:
    parts, energy = [], any(graph["energy"] for graph in report["graphs"])
    if report["graphs"]:
        rows = [["graph", "median, ms", "p90, ms", "p99, ms", "runs"] + (["mJ, gross", "net"] if energy else [])]
        for graph in report["graphs"]:
            row = [graph["name"], *_timing(graph["latency"])]
            used = graph["energy"] or {"gross": None, "net": None}
            rows.append(row + ([figures(used["gross"]), figures(used["net"])] if energy else []))
        parts += ["<h2>Graphs</h2>\n", _figure(plots.graphs(report), "Time of each graph"), html_table(rows)]
    if report["decisions"]:
        exits = report["bundle"]["exits"]
        rows = [["decision at", "median, ms", "p90, ms", "p99, ms", "runs"]]
        rows += [[layer_name(row["exit"], exits), *_timing(row["latency"])] for row in report["decisions"]]
        parts += ["<h2>Decisions</h2>\n", _figure(plots.decisions(report), "Time of each decision"), html_table(rows)]
        parts.append('<p class="soft">From the answer before, or the frame being ready, to this exit\'s answer.</p>\n')
    if parts:
        parts.append(
            '<p class="soft">Dot: median with its 95 % interval; long tick: 90th percentile; short: 99th.</p>\n'
        )
    return "".join(parts)


def _timing(latency: Report) -> list[str]:
    return [*(quantity(latency[key]) for key in ("median", "p90", "p99")), str(latency["runs"])]


def _cold(report: Report) -> str:
    parts = []
    if report["cold"] and report["cold"]["runs"]:
        total, runs = quantity(report["cold"]["latency"]["median"]), len(report["cold"]["runs"])
        text = "<h2>Cold start</h2>\n<p>A new process has its first answer after {} ms, the median of {}.</p>\n{}\n"
        parts.append(text.format(escape(total), runs, _figure(plots.cold(report), "Cold starts")))
    run = report["sustained"]
    if run and run["times"]:
        parts.append(
            '<h2>Sustained rate</h2>\n{}\n<p class="soft">{}, one video after the other without a pause; dashed: {} '
            "videos per second over all.</p>\n".format(
                _figure(plots.sustained(report), "Videos per second over time"),
                escape(run["name"]),
                figures(run["rate"]),
            )
        )
    return "".join(parts)


def _sequence(report: Report) -> str:
    note = "Every run is a dot."
    if not plots.runs_are_single(report):
        note = "Lines: medians of neighbouring runs; bands reach from the least to the largest: no run is left out."
    return (
        '<h2>Runs in order</h2>\n{}\n<p class="soft">{} Shaded: warm-up, not summarised. Horizontal: median. Vertical: '
        "blocks.</p>\n"
    ).format(_figure(plots.sequence(report), "Times of all runs in order"), note)


def _environment(report: Report) -> str:
    environment = report["environment"]
    facts = dict(environment["system"], **environment["versions"])
    if environment["others"] is not None:
        facts["other programs"] = "{:.2g} cores busy".format(environment["others"])
    return f"<h2>Versions</h2>\n{_facts(facts)}\n"


def _how(report: Report) -> str:
    blocks = [len(mode["blocks"]) for mode in report["modes"]]
    rounds = f"{min(blocks)} to {max(blocks)}" if min(blocks) != max(blocks) else str(blocks[0])
    lengths = [block["end"] - block["start"] for mode in report["modes"] for block in mode["blocks"]]
    length = f" of {figures(sum(lengths) / len(lengths))} s on average" if lengths else ""
    return (
        "<h2>How it was measured</h2>\n<p>A run is the recognition of one video in one mode. A block is whole passes "
        "over all videos in one mode, back to back; a round is one block of each mode, their order rotated from round "
        f"to round, so that drift hits all alike. Here: {rounds} blocks per mode{length}. Blocks are the independent "
        "replicates, from which the intervals come. Runs of the warm-up are left out of every summary; outliers are "
        "not. Every single run and sample is in the JSON report beside this page.</p>\n"
    )


def _sides(comparison: Report) -> str:
    alarms = "".join(f'<p style="{ALARM}">{escape(text)}</p>\n' for text in comparison["warnings"])
    rows = [["", "first", "second"]]
    sides = [comparison["a"], comparison["b"]]
    rows.append(["file", *(side["file"] for side in sides)])
    rows.append(["bundle", *("{} {}".format(side["bundle"]["name"], side["bundle"]["sha256"][:12]) for side in sides)])
    for key in ("device", "backend", "exit_graphs", "precision"):
        rows.append([key, *(str(side["environment"][key]) for side in sides)])
    rows.append(["measured", *(side["started"] for side in sides)])
    return f"<h1>Comparison</h1>\n{alarms}{html_table(rows, text=3)}\n"


def _ratios(comparison: Report) -> str:
    level, margin = 100 * comparison["level"], 100 * comparison["margin"]
    rows = [["mode", "metric", "verdict", "first", "second", "second over first"]]
    for row in comparison["rows"]:
        quantities = [quantity(row[key]) for key in ("a", "b", "ratio")]
        rows.append([row["name"], row["metric"], row["verdict"], *quantities])
    forest = ""
    if any(row["ratio"]["value"] for row in comparison["rows"]):
        forest = _figure(plots.ratios(comparison), "Ratios with their intervals")
    return (
        "<h2>Differences</h2>\n{}\n"
        '<p class="soft">Second over first with {} % intervals: below one, the second needs less. Band: the margin of '
        "{} %. The verdict is on the second.</p>\n{}\n"
    ).format(forest, f"{level:g}", f"{margin:g}", html_table(rows, text=3))


def quantity(value: Report | None) -> str:
    """A value with three figures and its interval, where there is one, on one line.

    Example:
        >>> quantity({"value": 3.1, "low": 3.0, "high": 3.25})
        '3.10\xa0(3.00\xa0to\xa03.25)'
    """
    if value is None or value["value"] is None:
        return "-"
    text = figures(value["value"])
    if value["low"] is None or value["high"] is None:
        return text
    return "{}\u00a0({}\u00a0to\u00a0{})".format(text, figures(value["low"]), figures(value["high"]))


def figures(value: float | None) -> str:
    """A number with three figures, or all before the point.

    Example:
        >>> figures(0.0712), figures(5), figures(4321.9), figures(None)
        ('0.0712', '5.00', '4322', '-')
    """
    if value is None:
        return "-"
    places = 2 - int(math.floor(math.log10(abs(value)))) if value else 2
    return "{:.{}f}".format(value, max(0, places))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _pairs(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def _facts(facts: dict[str, Any]) -> str:
    rows = (f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    return "<dl>{}</dl>".format("".join(rows))


def _figure(svg: str, label: str) -> str:
    """A plot whose text is as large as the page's where the page is wide enough."""
    width = float(re.match(r'<svg [^>]*?width="([0-9.]+)pt"', svg, re.DOTALL).group(1))  # type: ignore[union-attr]
    style = f'<svg role="img" aria-label="{escape(label)}" style="width: {width / REMS:.1f}rem" '
    return "<figure>{}</figure>".format(svg.replace("<svg ", style, 1))
