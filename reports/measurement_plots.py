"""The plots of a measurement and of a comparison, in the style of all reports and narrow enough for a phone.

Nothing measured is left out: what is too much to be drawn is drawn as the range that it covers.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from tlee.modes import EARLY, FRAME, LAYER, RANDOM
from tlee.reports.svg import INK, LINE, MARKS, drawn, figure, frame_cells, layer_name, panels_of, short, ticks

WIDTH = 5.0  # inches, of all plots
SMALL = 8  # points, texts within plots
LEAVING = (EARLY, LAYER, FRAME, RANDOM)  # modes that can exit early
BINS = 90  # of a distribution
PLACES = 300  # along an axis where single runs are told apart
STEPS = 60  # of a rate over time
RUNS = 4000  # of all modes, that are drawn as points of their own
SAMPLES = 1500  # of power, up to which every one is drawn
COUNTED = 20  # frames, up to which a map of exits shows its numbers
# P. Tol, "Colour Schemes", SRON/EPS/TN/09-002, 2021, light: none is the colour of a mode, and black reads on all.
PARTS = {
    "open": "#DDDDDD",
    "decode": "#77AADD",
    "prepare": "#99DDFF",
    "upload": "#44BB99",
    "compute": "#EE8866",
    "decide": "#EEDD88",
    "rest": "#FFAABB",
}
STAGES = {
    "start": ("interpreter and imports", "#DDDDDD"),
    "load": ("bundle and backend", "#77AADD"),
    "first": ("first video", "#EE8866"),
}
# P. Tol as above, bright: lines that are no mode's.
LINES = ("#4477AA", "#CCBB44", "#66CCEE", "#AA3377", "#228833")
ALARM = "#EE6677"
BETTER, WORSE, EQUAL = "#009E73", "#D55E00", "#999999"
VERDICTS = {"faster": BETTER, "less energy": BETTER, "slower": WORSE, "more energy": WORSE}

Report = dict[str, Any]


class Look(NamedTuple):
    colour: str
    shape: str
    size: float


def looks(modes: Sequence[dict[str, Any]]) -> list[Look]:
    """Colour and mark of each measured mode; the points of one mode get lighter from one to the next."""
    found: list[Look] = []
    seen: dict[str, int] = {}
    for mode in modes:
        colour, shape, size = MARKS[mode["mode"]]
        turn = seen[mode["mode"]] = seen.get(mode["mode"], -1) + 1
        white = 1 - 0.65**turn
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        mixed = "#" + "".join(f"{round(part + white * (255 - part)):02X}" for part in (red, green, blue))
        found.append(Look(mixed, shape, size * 0.8))
    return found


@drawn
def latencies(report: Report) -> Figure:
    """How the times of each mode's runs are spread, after its warm-up."""
    modes = report["modes"]
    canvas, axes = figure(WIDTH, 0.7 + 0.62 * len(modes))
    times = [np.maximum(run_times(mode)[mode["warm_up"]["runs"] :], 1e-4) for mode in modes]
    low, high = _limits([value for group in times if len(group) for value in (group.min(), group.max())])
    edges = np.geomspace(low, high, BINS + 1)
    for row, (mode, look, group) in enumerate(zip(modes, looks(modes), times)):
        axes.text(0, row - 0.68, short(mode["name"]), transform=axes.get_yaxis_transform(), fontsize=9, va="center")
        if not len(group):
            continue
        counts = np.histogram(group, edges)[0]
        top = row - 0.5 * counts / counts.max()
        outline = (np.repeat(edges, 2)[1:-1], np.repeat(top, 2))
        axes.fill_between(outline[0], outline[1], row, color=look.colour, alpha=0.75, linewidth=0)
        rare = _apart(_rare(group), low, high)
        axes.plot(rare, np.full(len(rare), row + 0.09), "o", color=look.colour, markersize=2.2, clip_on=False)
        for key, length, width in (("median", 0.5, 1.6), ("p90", 0.34, 1.2), ("p99", 0.2, 1.2)):
            value = mode["latency"][key]["value"]
            if value:
                axes.plot([value] * 2, [row, row - length], color=INK, linewidth=width, solid_capstyle="butt")
    axes.set_ylim(len(modes) - 0.7, -0.95)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _log(axes.xaxis, low, high)
    axes.set_xlim(low, high)
    axes.grid(True, axis="x")
    axes.set_xlabel("ms per video")
    return canvas


@drawn
def exit_maps(report: Report) -> Figure:
    """Where frames leave, a map per mode that can exit early: per cent of the videos."""
    modes = leaving(report)
    shares = [_shares(mode["exits"]) for mode in modes]
    layers, frames = shares[0].shape
    heights = [0.8 + 0.27 * layers] * len(modes)
    canvas, panels = panels_of(WIDTH, sum(heights), heights)
    for axes, mode, share in zip(panels, modes, shares):
        counted = frames <= COUNTED
        texts = [[_cell(value) if counted else "" for value in row] for row in share]
        rows = [f"{layer_name(b, layers)} ({share[b].sum():.0f})" for b in range(layers)]
        step = 1 if counted else int(math.ceil(frames / 16))
        columns = [str(t) if t % step == 0 else "" for t in range(frames)]
        frame_cells(axes, share / max(share.max(), 1e-9), texts, rows, columns)
        axes.tick_params(labelsize=SMALL)
        axes.set_title(short(mode["name"]), loc="left", fontsize=9)
    panels[-1].set_xlabel("frame, in processing order", fontsize=9)
    return canvas


@drawn
def power(report: Report) -> Figure:
    """Power over the measurement, and below it the clocks where they are known."""
    measured = report["power"]
    clocks = {name: values for name, values in measured["samples"]["clocks"].items() if _known(values)}
    heights = [2.6, 1.3] if clocks else [2.6]
    canvas, panels = panels_of(WIDTH, 0.6 + 0.32 * (len(report["modes"]) + 1) / 2 + sum(heights), heights, sharex=True)
    time = np.array(measured["samples"]["time"], float)
    _watts(panels[0], time, report)
    for (name, values), colour in zip(sorted(clocks.items()), LINES * len(clocks)):
        _series(panels[1], time, values, measured["gaps"], color=colour, label=short(name), linewidth=1.3)
    if clocks:
        panels[1].set_ylabel("MHz")
        panels[1].set_ylim(0, 1.08 * max(np.nanmax(_floats(values)) for values in clocks.values()))
        panels[1].legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncol=4, fontsize=SMALL, borderaxespad=0)
    for axes in panels:
        _events(axes, measured)
        axes.grid(True, axis="y")
    panels[0].set_xlim(0, max(float(report["seconds"]), 1e-3))
    panels[-1].set_xlabel("seconds since the measurement began")
    return canvas


@drawn
def answers(report: Report) -> Figure:
    """Accuracy against energy per video, or against its time where no energy was measured."""
    canvas, axes = figure(WIDTH, 3.6)
    points = accuracies(report)
    by_energy = any(mode["energy"] for mode in points)
    style = dict(zip(map(id, report["modes"]), looks(report["modes"])))
    points = [mode for mode in points if mode["energy"] or not by_energy]
    costs = [mode["energy"]["gross"] if by_energy else mode["latency"]["mean"] for mode in points]
    places = []
    for mode, cost in zip(points, costs):
        look = style[id(mode)]
        place = (cost["value"], 100 * mode["answers"]["accuracy"])
        marks: dict[str, Any] = {"fmt": look.shape, "markersize": look.size, "color": look.colour}
        axes.errorbar([place[0]], [place[1]], xerr=_reach(cost), capsize=3, elinewidth=1.2, **marks)
        places.append(place)
    # Few and restless blocks may bound a mean by less than nothing, which no logarithm shows.
    values = [end for cost in costs for end in (cost["value"], cost["low"], cost["high"]) if end and end > 0]
    if max(values) > 4 * min(values):
        low, high = _limits(values, 0.15)
        _log(axes.xaxis, low, high)
    else:
        low, high = 0, 1.12 * max(values)
    axes.set_xlim(low, high)
    heights = [y for _, y in places]
    room = max(1.0, 0.15 * (max(heights) - min(heights)))
    axes.set_ylim(min(heights) - room, max(heights) + room)
    axes.grid(True)
    axes.set_xlabel("mJ per video, gross" if by_energy else "ms per video, mean")
    axes.set_ylabel("accuracy, %")
    _label(axes, places, costs, [short(mode["name"]) for mode in points])
    return canvas


@drawn
def parts(report: Report) -> Figure:
    """Where the time of a video goes, a bar per mode."""
    modes = report["modes"]
    canvas, axes = figure(WIDTH, 1.1 + 0.52 * len(modes))
    names = [short(mode["name"]) + (" (overlapped)" if mode["overlapped"] else "") for mode in modes]
    bars = {part: [mode["parts"].get(part) or 0.0 for mode in modes] for part in PARTS}
    _stack(axes, bars, {part: (part, colour) for part, colour in PARTS.items()}, names)
    axes.set_xlabel("ms per video, mean")
    return canvas


@drawn
def cold(report: Report) -> Figure:
    """What a new process takes until it has its first answer, a bar per process."""
    runs = report["cold"]["runs"]
    canvas, axes = figure(WIDTH, 1.0 + min(4.0, 0.32 * len(runs)))
    _stack(axes, {stage: [run[stage] for run in runs] for stage in STAGES}, STAGES)
    axes.set_xlabel("ms, one bar for each new process")
    return canvas


@drawn
def sustained(report: Report) -> Figure:
    """Videos per second over time, one video after the other."""
    run = report["sustained"]
    canvas, axes = figure(WIDTH, 2.0)
    ends = np.array([run["start"]] + list(run["times"]), float)
    # Steps of as many runs each: steps of as much time would show the grain of whole runs.
    stretch = max(1, int(math.ceil((len(ends) - 1) / STEPS)))
    edges = np.append(ends[:-1:stretch], ends[-1])
    runs = np.diff(np.append(np.arange(0, len(ends) - 1, stretch), len(ends) - 1))
    rates = runs / np.maximum(np.diff(edges), 1e-9)
    axes.plot(np.repeat(edges, 2)[1:-1], np.repeat(rates, 2), color=INK, linewidth=1.5)
    axes.plot(edges[[0, -1]], [run["rate"]] * 2, "--", color=ALARM, linewidth=1.2)
    axes.set_ylim(0, 1.15 * max(rates.max(), run["rate"], 1e-9))
    axes.grid(True, axis="y")
    axes.set_xlabel("seconds since the measurement began")
    axes.set_ylabel("videos per second")
    return canvas


@drawn
def graphs(report: Report) -> Figure:
    """Time of each segment or fused exit on its own."""
    return _timings([short(graph["name"]) for graph in report["graphs"]], report["graphs"], "ms per run")


@drawn
def decisions(report: Report) -> Figure:
    """Time of each decision, from the answer before it."""
    rows = report["decisions"]
    return _timings([layer_name(row["exit"], report["bundle"]["exits"]) for row in rows], rows, "ms per decision")


@drawn
def sequence(report: Report) -> Figure:
    """The time of every run in the order of the runs, so that a drift is seen."""
    modes = report["modes"]
    canvas, panels = panels_of(WIDTH, 0.5 + 1.05 * len(modes), [1] * len(modes))
    single = runs_are_single(report)
    for axes, mode, look in zip(panels, modes, looks(modes)):
        times = np.maximum(run_times(mode), 1e-4)
        if not len(times):
            continue
        if single:
            axes.plot(np.arange(len(times)), times, ".", color=look.colour, markersize=4, markeredgewidth=0)
        else:
            place, least, middle, most = _envelope(np.arange(len(times), dtype=float), times, PLACES)
            axes.fill_between(place, least, most, color=look.colour, alpha=0.35, linewidth=0)
            axes.plot(place, middle, color=look.colour, linewidth=1.2)
        borders = np.cumsum([len(block["milliseconds"]) for block in mode["blocks"]])[:-1]
        low, high = _limits([times.min(), times.max()], 0.08)
        if len(borders) <= 60:
            axes.vlines(borders - 0.5, low, high, color=LINE, linewidth=0.6)
        axes.axvspan(-0.5, mode["warm_up"]["runs"] - 0.5, color=INK, alpha=0.15, linewidth=0)
        axes.axhline(mode["latency"]["median"]["value"], color=INK, linewidth=0.7, alpha=0.7)
        _log(axes.yaxis, low, high, 2)
        axes.set_ylim(low, high)
        axes.set_xlim(-0.5, len(times) - 0.5)
        axes.tick_params(labelsize=SMALL)
        axes.set_title(short(mode["name"]), loc="left", fontsize=9)
        axes.set_ylabel("ms", fontsize=SMALL)
    panels[-1].set_xlabel("runs in order", fontsize=9)
    return canvas


@drawn
def ratios(comparison: Report) -> Figure:
    """The ratios of a comparison with their intervals, and the margin within which nothing is called a difference."""
    rows = [row for row in comparison["rows"] if row["ratio"]["value"]]
    names = [row["name"] for row in rows]
    heads = sum(i == 0 or names[i - 1] != name for i, name in enumerate(names))
    canvas, axes = figure(WIDTH, 0.8 + 0.26 * (len(rows) + heads))
    margin, place = comparison["margin"], 0
    places: list[int] = []
    labels: list[str] = []
    ends = [1 / (1.2 + margin), 1.2 + margin]
    for i, row in enumerate(rows):
        if i == 0 or names[i - 1] != row["name"]:
            axes.text(0.01, place, short(row["name"]), transform=axes.get_yaxis_transform(), fontsize=9, va="center")
            place += 1
        ratio, colour = row["ratio"], VERDICTS.get(row["verdict"], EQUAL)
        mark = "o" if row["verdict"] in VERDICTS else "s"
        axes.errorbar([ratio["value"]], [place], xerr=_reach(ratio), fmt=mark, color=colour, markersize=5, capsize=3)
        ends += [end for end in (ratio["value"], ratio["low"], ratio["high"]) if end and end > 0]
        places.append(place)
        labels.append(short(row["metric"]))
        place += 1
    low, high = _limits(ends)
    axes.axvspan(1 / (1 + margin), 1 + margin, color=INK, alpha=0.12, linewidth=0)
    axes.axvline(1, color=INK, linewidth=0.8)
    ticks(axes.yaxis, places, labels, fontsize=SMALL)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(place - 0.4, -0.7)
    _log(axes.xaxis, low, high)
    axes.set_xlim(low, high)
    axes.grid(True, axis="x")
    axes.set_xlabel("second over first")
    return canvas


def leaving(report: Report) -> list[dict[str, Any]]:
    """The measured modes that can exit early."""
    return [mode for mode in report["modes"] if mode["mode"] in LEAVING and np.sum(mode["exits"])]


def accuracies(report: Report) -> list[dict[str, Any]]:
    """The measured modes whose accuracy is known."""
    return [mode for mode in report["modes"] if mode["answers"]["accuracy"] is not None]


def run_times(mode: dict[str, Any]) -> np.ndarray:
    """All times of a mode's runs in order, in ms, its warm-up among them."""
    return np.array([time for block in mode["blocks"] for time in block["milliseconds"]], float)


def runs_are_single(report: Report) -> bool:
    """Whether every run is drawn as a point of its own."""
    return sum(len(run_times(mode)) for mode in report["modes"]) <= RUNS


def power_is_known(report: Report) -> bool:
    """Whether there are at least two samples of power to draw."""
    samples = report["power"]["samples"]
    return len(samples.get("time") or []) > 1 and _known(samples["watts"])


def throttles(power: dict[str, Any]) -> list[float]:
    """When it throttled, in s, as far as the texts begin with a time."""
    found = [re.match(r"\s*([0-9]+(?:\.[0-9]+)?) s\b", text) for text in power["throttled"]]
    return [float(match.group(1)) for match in found if match]


def _watts(axes: Axes, time: np.ndarray, report: Report) -> None:
    measured = report["power"]
    watts = _floats(measured["samples"]["watts"])
    top = 1.12 * max(float(np.nanmax(watts)), 1e-6)
    shades: list[Any] = []
    for mode, look in zip(report["modes"], looks(report["modes"])):
        spans = [(block["start"], block["end"] - block["start"]) for block in mode["blocks"]]
        axes.broken_barh(spans, (0, top), facecolors=look.colour, alpha=0.4, linewidth=0)
        shades.append(Patch(color=look.colour, alpha=0.4, linewidth=0, label=short(mode["name"])))
    rails = {name: values for name, values in measured["samples"]["rails"].items() if _known(values)}
    for (name, values), dashes in zip(sorted(rails.items()), ("--", ":", "-.") * len(rails)):
        style = {"color": INK, "linestyle": dashes, "linewidth": 0.8, "alpha": 0.8}
        apart = np.abs(_floats(values) - watts)
        if np.nanmax(np.append(apart, 0)) > 1e-6:  # else it is the total
            _series(axes, time, values, measured["gaps"], label=short(name), **style)
    _series(axes, time, measured["samples"]["watts"], measured["gaps"], color=INK, linewidth=1.2, label="total")
    idle = measured["idle"]
    if idle:
        axes.axhline(idle["watts"], color=LINES[0], linestyle="--", linewidth=1.2, label="idle")
        axes.plot([idle["start"], idle["end"]], [idle["watts"]] * 2, color=LINES[0], linewidth=3)
    axes.set_ylim(0, top)
    axes.set_ylabel("W")
    # Given, not found: 2.1 compares what it finds and fails at patches.
    handles = shades + [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    labels = [str(handle.get_label()) for handle in handles]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1.01), "borderaxespad": 0}
    axes.legend(handles, labels, ncol=2, fontsize=SMALL, **place)


def _events(axes: Axes, power: dict[str, Any]) -> None:
    for start, end in power["gaps"]:
        axes.axvspan(start, end, facecolor="none", edgecolor=INK, alpha=0.35, hatch="////", linewidth=0)
    for change in power["changes"]:
        axes.axvline(change["time"], color=INK, linestyle=":", linewidth=1)
    for time in throttles(power):
        axes.axvline(time, color=ALARM, linewidth=2)


def _series(axes: Axes, time: np.ndarray, values: Sequence[float | None], gaps: Any, **style: Any) -> None:
    """A line over time that is broken where nothing is known; of many samples their mean over the range they cover."""
    known = _floats(values)
    for start, end in gaps:
        place = int(np.searchsorted(time, (start + end) / 2))
        time, known = np.insert(time, place, (start + end) / 2), np.insert(known, place, np.nan)
    if len(time) > SAMPLES:
        time, least, known, most = _envelope(time, known, SAMPLES // 3)
        axes.fill_between(time, least, most, color=style["color"], alpha=0.3, linewidth=0)
    axes.plot(time, known, **style)


def _envelope(place: np.ndarray, values: np.ndarray, most: int) -> list[np.ndarray]:
    """Places, least, median and largest values of so many stretches at most; no number stays no number."""
    stretch = max(1, int(math.ceil(len(values) / most)))
    spare = -len(values) % stretch
    values = np.concatenate([values, np.full(spare, np.nan)]).reshape(-1, stretch)
    place = np.concatenate([place, np.full(spare, np.nan)]).reshape(-1, stretch)
    found = [np.nanmean(place, 1), np.nanmin(values, 1), np.nanmedian(values, 1), np.nanmax(values, 1)]
    return [np.asarray(part) for part in found]


def _rare(times: np.ndarray) -> np.ndarray:
    low, high = np.percentile(times, (1, 99))
    return times[(times < low) | (times > high)]


def _apart(times: np.ndarray, low: float, high: float) -> np.ndarray:
    """One of all that would be drawn at the same place of a logarithmic axis."""
    places = np.round(PLACES * np.log(times / low) / np.log(high / low))
    return times[np.unique(places, return_index=True)[1]]


def _shares(left: Sequence[Sequence[int]]) -> np.ndarray:
    """Frames that left, (T, B + 1), as per cent of the videos, exits first: every video has a first frame."""
    counts = np.array(left, float).T
    return 100 * counts / max(counts[:, 0].sum(), 1)


def _cell(share: float) -> str:
    if share == 0:
        return ""
    return "<1" if share < 1 else f"{share:.0f}"


def _timings(names: list[str], rows: Sequence[dict[str, Any]], unit: str) -> Figure:
    """A row each: median with its interval, and the 90th and 99th percentile."""
    canvas, axes = figure(WIDTH, 0.8 + 0.24 * len(rows))
    ends: list[float] = []
    for place, row in enumerate(rows):
        median, p90, p99 = (row["latency"][key] for key in ("median", "p90", "p99"))
        axes.plot([median["value"], p99["value"]], [place] * 2, color=INK, linewidth=1, alpha=0.6)
        style: dict[str, Any] = {"fmt": "o", "color": INK, "markersize": 5, "capsize": 3}
        axes.errorbar([median["value"]], [place], xerr=_reach(median), **style)
        axes.plot([p90["value"]], [place], "|", color=INK, markersize=11, markeredgewidth=1.8)
        axes.plot([p99["value"]], [place], "|", color=INK, markersize=7, markeredgewidth=1)
        ends += [end for part in (median, p90, p99) for end in (part["value"], part["low"], part["high"]) if end]
    ticks(axes.yaxis, range(len(rows)), names, fontsize=SMALL)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    low, high = _limits([end for end in ends if end > 0])
    _log(axes.xaxis, low, high)
    axes.set_xlim(low, high)
    axes.grid(True, axis="x")
    axes.set_xlabel(unit)
    return canvas


def _stack(
    axes: Axes, bars: dict[str, list[float]], look: dict[str, tuple[str, str]], names: list[str] | None = None
) -> None:
    """A bar per row, parts after one another with their values where there is room; names above the bars."""
    rows = len(next(iter(bars.values())))
    ends = np.zeros(rows)
    longest = max(sum(bars[key][row] for key in bars) for row in range(rows)) or 1.0
    for key, values in bars.items():
        label, colour = look[key]
        axes.barh(range(rows), values, 0.5, left=ends, color=colour, label=label, linewidth=0)
        for row, value in enumerate(values):
            text = _figures(value)
            if rows <= 40 and value / longest > 0.02 * (len(text) + 1):
                centre = (ends[row] + value / 2, row)
                axes.text(centre[0], centre[1], text, color="black", fontsize=SMALL, ha="center", va="center")
        ends += values
    for row, name in enumerate(names or []):
        axes.text(0.01 * longest, row - 0.4, name, fontsize=9, va="center")
    axes.set_yticks([])
    axes.set_ylim(rows - 0.6, -0.75)
    axes.set_xlim(0, 1.03 * longest)
    axes.grid(True, axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.01), ncol=4, fontsize=SMALL, borderaxespad=0)


def _label(
    axes: Axes, places: Sequence[tuple[float, float]], costs: Sequence[dict[str, Any]], texts: Sequence[str]
) -> None:
    """Writes texts beside points, each at the first place around its point that nothing covers."""
    whole: Any = axes.figure
    width, height = 0.8 * 72 * whole.get_figwidth(), 0.75 * 72 * whole.get_figheight()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = math.log if axes.get_xscale() == "log" else float

    def across(value: float) -> float:
        return float(width * (scale(value) - scale(left)) / (scale(right) - scale(left)))

    taken, steps = [], [(11 * far, side) for far in (1, -1, 2, -2, 3, -3) for side in ("center", "left", "right")]
    for (x, y), cost in zip(places, costs):
        up = height * (y - bottom) / (top - bottom)
        ends = (across(max(end, left)) if end else across(x) for end in (cost["low"], cost["high"]))
        taken.append((min(next(ends), across(x) - 5), up - 6, max(next(ends), across(x) + 5), up + 6))
    for place, text, (least, low, most, high) in zip(places, texts, list(taken)):
        long, middle = 0.6 * SMALL * len(text), across(place[0])
        # Beside its interval; above and below; further away.
        choices = [(most - middle + 3, 0.0, "left"), (least - middle - 3, 0.0, "right")]
        for dx, dy, side in choices + [(0.0, float(far), side) for far, side in steps]:
            start = middle + dx - {"left": 0, "center": long / 2, "right": long}[side]
            box = (start, (low + high) / 2 + dy - 5, start + long, (low + high) / 2 + dy + 5)
            inside = box[0] >= 0 and box[2] <= width and box[1] >= 0 and box[3] <= height
            if inside and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        style: dict[str, Any] = {"textcoords": "offset points", "fontsize": SMALL, "va": "center"}
        axes.annotate(text, place, (dx, dy), ha=side, zorder=5, **style)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _reach(quantity: dict[str, Any]) -> list[list[float]] | None:
    """How far an interval reaches to both sides of its value."""
    value, low, high = (quantity[key] for key in ("value", "low", "high"))
    return None if low is None or high is None else [[max(0.0, value - low)], [max(0.0, high - value)]]


def _limits(values: Sequence[float], room: float = 0.05) -> tuple[float, float]:
    """Limits of a logarithmic axis with some room around positive values."""
    low, high = (min(values), max(values)) if len(values) else (1.0, 10.0)
    space = max((high / low) ** room, 1.03)
    return low / space, high * space


def _log(axis: Axis, low: float, high: float, least: int = 4) -> None:
    """A logarithmic axis with plain numbers, however short it is."""
    axis.axes.set_xscale("log") if axis is axis.axes.xaxis else axis.axes.set_yscale("log")
    powers = range(int(math.floor(math.log10(low))), int(math.ceil(math.log10(high))) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        places = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(places) >= least:
            break
    else:
        places = [place for place in MaxNLocator(5).tick_values(low, high) if low <= place <= high]
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value, 9):g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _known(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _floats(values: Sequence[float | None]) -> np.ndarray:
    return np.array(values, float)


def _figures(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
