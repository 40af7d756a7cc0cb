"""A report as lines for a terminal."""

from typing import Any, Dict, List, Optional

from tlee import cli
from tlee.benchmarks.timed import PARTS

BUSY = 0.1  # cores that other programs may keep busy unmentioned
Report = Dict[str, Any]


def lines(report: Report) -> List[str]:
    """What was measured on what, a table of modes, one of graphs, and what a reader has to know of them."""
    bundle, environment = report["bundle"], report["environment"]
    found = [
        "{} ({}) on {}, {}, {} exits".format(
            bundle["name"],
            bundle["backbone"],
            environment["device"],
            environment["backend"],
            environment["exit_graphs"],
        ),
        _load(report),
        _power(report),
        "",
    ]
    found += cli.table(_modes(report), "lrrrrrrrrr") + [""]
    found += cli.table(_graphs(report), "lrrrrr") + [""] if report["graphs"] else []
    return found + _others(report) + ["attention: " + text for text in marks(report)]


def marks(report: Report) -> List[str]:
    """What makes a measurement worth less."""
    found = [f"throttled at {text}" for text in report["power"]["throttled"]]
    found += [
        "{} never settled, nothing was left out as warm-up".format(mode["name"])
        for mode in report["modes"]
        if not mode["warm_up"]["steady"]
    ]
    if (report["environment"]["others"] or 0) > BUSY:
        found.append("other programs kept {others:.1f} cores busy".format(**report["environment"]))
    return found


def _load(report: Report) -> str:
    load, modes = report["load"], report["modes"]
    runs = sum(mode["latency"]["runs"] for mode in modes)
    what = "clips of noise" if load["synthetic"] else "videos"
    text = "{}: {}; modes, in turns: {}; blocks of each: {}; runs after the warm-up: {}"
    return text.format(what, len(load["videos"]), len(modes), len(modes[0]["blocks"]), runs)


def _power(report: Report) -> str:
    power = report["power"]
    if power["source"] == "none":
        return "power: not measured ({})".format(power["reason"])
    text = "power: {source}, {total}".format(**power)
    if power["idle"]:
        text += "; {watts:.2f} W at rest".format(**power["idle"])
    return text + ("; {reason}".format(**power) if power["reason"] else "")


def _modes(report: Report) -> List[List[str]]:
    rows = [["mode", "accuracy", "share", "frames", "median ms", "95 %", "p90", "p99", "videos/s", "mJ (net)"]]
    for mode in report["modes"]:
        latency, answers = mode["latency"], mode["answers"]
        accuracy = "" if answers["accuracy"] is None else "{:.1%}".format(answers["accuracy"])
        shares = ["{:.1%}".format(answers["share"]), "{:.1f}".format(answers["frames"])]
        times = [number(latency["median"]["value"]), _interval(latency["median"])]
        times += [number(latency[key]["value"]) for key in ("p90", "p99")]
        rows.append([mode["name"], accuracy] + shares + times + [number(mode["rate"]["videos"]), _energy(mode)])
    return rows


def _graphs(report: Report) -> List[List[str]]:
    rows = [["graph", "median ms", "95 %", "p90", "p99", "mJ"]]
    for part in report["graphs"]:
        latency = part["latency"]
        times = [number(latency["median"]["value"]), _interval(latency["median"])]
        times += [number(latency[key]["value"]) for key in ("p90", "p99")]
        rows.append([part["name"]] + times + [number(part["energy"]["gross"]) if part["energy"] else ""])
    return rows


def _others(report: Report) -> List[str]:
    found = [_parts(report["modes"][0])]
    for part in report["decisions"]:
        text = "decision at exit {}: median {} ms, p99 {} ms"
        latency = part["latency"]
        found.append(text.format(part["exit"], *(number(latency[key]["value"]) for key in ("median", "p99"))))
    if report["cold"] and report["cold"]["runs"]:
        runs = report["cold"]["runs"]
        means = [number(sum(run[key] for run in runs) / len(runs)) for key in ("total", "start", "load", "first")]
        text = "cold start: first result after {} ms (start {}, load {}, first video {}), mean of {}"
        found.append(text.format(*means, len(runs)))
    if report["sustained"]:
        text = "sustained: {:.1f} videos/s, {}, over {:.0f} s"
        part = report["sustained"]
        found.append(text.format(part["rate"], part["name"], part["end"] - part["start"]))
    return found


def _parts(mode: Report) -> str:
    """Where the time goes."""
    parts = ["{} {}".format(name, number(mode["parts"][name])) for name in PARTS]
    text = "mean ms of a video, {}: {}".format(mode["name"], ", ".join(parts))
    return text + (" (frames are read beside computing)" if mode["overlapped"] else "")


def _energy(mode: Report) -> str:
    energy: Optional[Report] = mode["energy"]
    if not energy:
        return ""
    net = " ({})".format(number(energy["net"]["value"])) if energy["net"] else ""
    return number(energy["gross"]["value"]) + net


def _interval(quantity: Report) -> str:
    ends = [quantity["low"], quantity["high"]]
    return "" if ends == [None, None] else "{} to {}".format(*("?" if end is None else number(end) for end in ends))


def number(value: float) -> str:
    """With as many digits as a measurement is worth."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3f}" if value < 10 else f"{value:.1f}"
