"""What the plots of all reports share: style, colours, axes, and the kinds of plot that several of them draw.

Plots are SVG narrow enough for a phone. Text stays text, and colours follow the page that a plot stands in.
"""

from __future__ import annotations

import functools
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from tlee.modes import EARLY, FRAME, LAYER, NONE, ONE, PLAIN, RANDOM, THREE, exit_name

Report = dict[str, Any]

WIDTH = 5.0  # inches
SMALL = 8  # points, of texts within plots
POINTS_PER_REM = 9.5  # makes a plot's text as large as the page's, where the page is wide enough
NAME = 26  # characters of a name in a plot
COUNTED = 20  # frames, up to which a map shows its numbers
DARK_CELL = 0.8  # of the colour's range, from where white text reads better
# Colours of the page, drawn as these and replaced by its style.
INK, LINE = "#010203", "#040506"
STYLE = {INK: "currentColor", LINE: "var(--line)"}
# Okabe and Ito, "Color universal design", 2008: told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY = "#999999"
BROWN, SLATE = "#8A5A2B", "#6A6F7A"  # told apart from these by their lightness
# Each mode has a shape of its own, too.
MARKS = {
    EARLY: (VERMILION, "*", 11),
    LAYER: (SKY, "s", 6),
    FRAME: (GREEN, "^", 7),
    RANDOM: (PURPLE, "X", 7),
    ONE: (BROWN, "v", 7),
    THREE: (SLATE, "p", 8),
    NONE: (BLUE, "D", 6),
    PLAIN: (ORANGE, "o", 11),
}
# Transparent for nothing, so that the page's own background shows, dark or light.
SHADES = LinearSegmentedColormap.from_list("shades", [(*to_rgb(BLUE), 0.0), (*to_rgb(BLUE), 1.0)])
RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $x$
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.facecolor": "none",
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "errorbar.capsize": 3,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "legend.labelcolor": INK,
    "legend.borderaxespad": 0,
}


def drawn(plot: Callable[[Report], Figure]) -> Callable[[Report], Markup]:
    """Turns a function that draws a report's figure into one that returns it as an `<svg>` element."""

    @functools.wraps(plot)
    def draw(report: Report) -> Markup:
        stream = io.StringIO()
        # The salt keeps a plot's identifiers apart from those of the page's other plots.
        with rc_context({**RC, "svg.hashsalt": plot.__qualname__}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that matplotlib's fonts lack: the browser has them
            canvas = plot(report)
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            canvas.savefig(stream, format="svg", dpi=150, bbox_inches="tight", metadata=nothing)
        text = stream.getvalue()
        for colour, style in STYLE.items():
            text = text.replace(colour, style)
        text = text[text.index("<svg") :]
        width = float(text.partition(' width="')[2].partition("pt")[0])
        return Markup(text.replace("<svg ", f'<svg style="width: {width / POINTS_PER_REM:.1f}rem" ', 1))

    return draw


def standalone(svg: str) -> str:
    """A drawn plot as a file of its own, on white."""
    return str(svg).replace('<svg style="', '<svg style="color: #1c1e21; --line: #c9ced6; background: #fff; ', 1)


def figure(height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with its axes."""
    canvas = Figure(figsize=(WIDTH, height))
    return canvas, canvas.subplots()


def panels_of(heights: Sequence[float], rest: float = 0.0, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure with axes below one another, of so many inches each and the rest; `shared` goes to `subplots`."""
    canvas = Figure(figsize=(WIDTH, sum(heights) + rest))
    return canvas, list(canvas.subplots(len(heights), 1, squeeze=False, height_ratios=heights, **shared)[:, 0])


def legend(axes: Axes, columns: int = 3, **given: Any) -> None:
    """A legend above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=columns, **given)


def log_scale(axis: Axis, most: int = 8) -> None:
    """Make an axis on which everything is drawn logarithmic, with plain numbers, `most` of them at most or so."""
    axis.axes.set_xscale("log") if axis is axis.axes.xaxis else axis.axes.set_yscale("log")
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    subs = next((steps for steps in ((1, 2, 5), (1, 3)) if len(steps) * decades <= most), (1,))
    axis.set_major_locator(MaxNLocator(most * 2 // 3) if decades < 0.7 else LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{round(value, 9):g}"))
    axis.set_minor_locator(NullLocator())


def accuracy_by_cost(axes: Axes, cost: str, columns: int = 3) -> None:
    """Axes of a plot of accuracy by cost, once everything is drawn."""
    axes.margins(x=0.08)
    log_scale(axes.xaxis)
    axes.set(xlabel=cost, ylabel="top-1 accuracy, %")
    axes.grid(True)
    legend(axes, columns)


def mode_styles(modes: Sequence[str]) -> list[dict[str, Any]]:
    """How each mode is drawn by `errorbar`; those of one mode get lighter from one to the next."""
    styles = []
    for i, mode in enumerate(modes):
        colour, shape, size = MARKS[mode]
        strength = 0.65 ** modes[:i].count(mode)
        red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
        style = {"color": to_hex((red, green, blue)), "fmt": shape, "markersize": size, "elinewidth": 1.2}
        if mode == PLAIN:  # a ring: often where no exit is, and then around it
            style.update(markerfacecolor="none", markeredgewidth=2)
        styles.append(style)
    return styles


def reach(quantity: Mapping[str, float | None]) -> list[list[float]] | None:
    """How far the interval of a positive quantity reaches to both sides of its value."""
    value, low, high = (quantity[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    # Few blocks may bound a mean by less than nothing, which no logarithm shows.
    return [[max(0.0, min(value - low, 0.999 * value))], [max(0.0, high - value)]]


def interval_rows(rows: Sequence[tuple[str, Mapping[str, Any] | None, dict[str, Any]]]) -> tuple[Figure, Axes]:
    """A row each, from above: name, value with interval (nothing for a row that is a heading), style of `errorbar`."""
    canvas, axes = figure(0.8 + 0.26 * len(rows))
    for place, (_, quantity, style) in enumerate(rows):
        if quantity:
            axes.errorbar(quantity["value"], place, xerr=reach(quantity), **{"fmt": "o", "markersize": 5, **style})
    axes.set_yticks(range(len(rows)), [short(name) for name, *_ in rows], fontsize=SMALL)
    for label, (_, quantity, _) in zip(axes.get_yticklabels(), rows):
        label.set_fontweight("normal" if quantity else "bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(True, axis="x")
    return canvas, axes


def exit_maps(maps: Mapping[str, Sequence[Sequence[int]]], videos: int) -> Figure:
    """By title a map of where frames left or videos answered, (T, B + 1) counts, as per cent of the videos."""
    shares = [100 * np.array(counts, float).T / max(videos, 1) for counts in maps.values()]
    layers, frames = shares[0].shape
    canvas, panels = panels_of([(0.8 if len(maps) > 1 else 0.6) + 0.27 * layers] * len(maps))
    step = 1 if frames <= COUNTED else math.ceil(frames / 16)
    for axes, title, share in zip(panels, maps, shares):
        names = [f"{exit_name(b, layers)} ({share[b].sum():.0f})" for b in range(layers)]
        texts = [["<1" if 0 < part < 1 else f"{part:.0f}" if part else "" for part in row] for row in share]
        cells(axes, share / max(share.max(), 1e-9), texts, names, step)
        axes.set_title(short(title))
    panels[-1].set_xlabel("frame, in processing order", fontsize=9)
    return canvas


def cells(axes: Axes, shade: np.ndarray, texts: Sequence[Sequence[str]], names: Sequence[str], step: int = 1) -> None:
    """A map of exits by frames; `shade` from 0 to 1, texts if every frame's number (`step` 1) has room."""
    layers, frames = shade.shape
    axes.pcolormesh(shade, cmap=SHADES, vmin=0, vmax=1, edgecolors=LINE, linewidth=0.6)
    axes.set_xticks(np.arange(0, frames, step) + 0.5, [str(t) for t in range(0, frames, step)])
    axes.set_yticks(np.arange(layers) + 0.5, names)
    axes.tick_params(length=0, labelsize=SMALL)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    if step == 1:
        numbers(axes, shade, texts, 0.5)


def numbers(axes: Axes, shade: np.ndarray, texts: Sequence[Sequence[str]], offset: float = 0.0) -> None:
    """Writes texts into the cells of a map, readable on their shades from 0 to 1."""
    for (row, column), depth in np.ndenumerate(shade):
        colour = "white" if depth > DARK_CELL else INK
        text = axes.text(column + offset, row + offset, texts[row][column], ha="center", va="center")
        text.set(color=colour, fontsize=SMALL)


def short(name: str, length: int = NAME) -> str:
    """A name for a plot: one line, not too long."""
    name = " ".join(name.encode("utf-8", "backslashreplace").decode().split())
    return name if len(name) <= length else name[: length - 1] + "…"
