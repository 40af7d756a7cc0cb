"""What the plots of all reports share, as SVG: text stays text, and colours follow the page that they stand in.

Runs with every matplotlib from 2.1, JetPack 4's, on. Only who draws imports this: matplotlib is no requirement.
"""

import functools
import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from tlee.modes import EARLY, FRAME, LAYER, NONE, PLAIN, RANDOM

# Colours of the page, drawn as these and replaced by its style.
INK, LINE = "#010203", "#040506"
STYLE = {INK: "currentColor", LINE: "var(--line)"}
# Okabe and Ito, "Color universal design", 2008, each with a shape of its own.
MARKS = {
    EARLY: ("#D55E00", "*", 13),
    LAYER: ("#56B4E9", "s", 7),
    FRAME: ("#009E73", "^", 8),
    RANDOM: ("#CC79A7", "X", 8),
    NONE: ("#0072B2", "D", 7),
    PLAIN: ("#E69F00", "o", 13),
}
# Transparent for nothing, so that the page's own background shows, dark or light.
SHADES = LinearSegmentedColormap.from_list("shades", [(0.0, 0.447, 0.698, 0.0), (0.0, 0.447, 0.698, 1.0)])
DARK_CELL = 0.8  # of the colour's range, from where white text reads better
NAME = 26  # characters of a name in a plot
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
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}
NO_MATH = "text.parse_math" in matplotlib.rcParams


def drawn(plot: Callable[[dict[str, Any]], Figure]) -> Callable[[dict[str, Any]], str]:
    """A function that draws a figure of a report, as one that gives it as an `<svg>` element."""

    @functools.wraps(plot)
    def draw(report: dict[str, Any]) -> str:
        stream = io.StringIO()
        # The salt keeps a plot's identifiers apart from those of the page's other plots.
        settings = dict(RC, **{"svg.hashsalt": plot.__name__})
        known = {key: value for key, value in settings.items() if key in matplotlib.rcParams}
        with matplotlib.rc_context(known), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that matplotlib's fonts lack: the browser has them
            nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            canvas = plot(report)
            kind: dict[str, Any] = {"format": "svg", "dpi": 150, "bbox_inches": "tight", "metadata": nothing}
            canvas.savefig(stream, facecolor="none", edgecolor="none", **kind)
        text = stream.getvalue()
        for colour, style in STYLE.items():
            text = text.replace(colour, style)
        return text[text.index("<svg") :]

    return draw


def figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches with its axes."""
    canvas, panels = panels_of(width, height)
    return canvas, panels[0]


def panels_of(width: float, height: float, heights: Sequence[float] = (1,), **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches with axes below one another; `heights` are relative, `shared` goes to `subplots`."""
    try:
        canvas = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    except TypeError:  # older than 3.5
        canvas = Figure(figsize=(width, height), tight_layout=True, facecolor="none")
        FigureCanvasSVG(canvas)  # not a figure's own before 3.1
    grid = canvas.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": list(heights)}, **shared)
    return canvas, list(grid[:, 0])


def frame_map(shade: np.ndarray, texts: Sequence[Sequence[str]], rows: list[str], columns: list[str]) -> Figure:
    """Exits in rows, frames in columns; `shade` from 0 to 1."""
    layers, frames = shade.shape
    canvas, axes = figure(max(5.0, 1.6 + 0.74 * frames), 1.0 + 0.55 * layers)
    frame_cells(axes, shade, texts, rows, columns)
    axes.set_xlabel("frame, in processing order")
    return canvas


def frame_cells(
    axes: Axes, shade: np.ndarray, texts: Sequence[Sequence[str]], rows: list[str], columns: list[str]
) -> None:
    """Draws the cells of a map of exits and frames."""
    layers, frames = shade.shape
    axes.pcolormesh(shade, cmap=SHADES, vmin=0, vmax=1, edgecolors=LINE, linewidth=0.6)
    ticks(axes.xaxis, np.arange(frames) + 0.5, columns)
    ticks(axes.yaxis, np.arange(layers) + 0.5, rows)
    axes.tick_params(length=0)
    axes.invert_yaxis()
    for spine in axes.spines.values():
        spine.set_visible(False)
    numbers(axes, shade, texts, 0.5)


def numbers(axes: Axes, shade: np.ndarray, texts: Sequence[Sequence[str]], offset: float = 0.0) -> None:
    """Writes texts into the cells of a map, readable on their shades from 0 to 1."""
    for row, values in enumerate(texts):
        for column, text in enumerate(values):
            colour = "white" if shade[row, column] > DARK_CELL else INK
            axes.text(column + offset, row + offset, text, ha="center", va="center", fontsize=8, color=colour)


def ticks(axis: Axis, places: Any, labels: Sequence[str], **style: Any) -> None:
    """Ticks with texts of their own."""
    axis.set_ticks(places)
    axis.set_ticklabels(labels, **style)


def layer_name(exit: int, exits: int) -> str:
    """What an exit is called, as by `tlee-run`."""
    return "tail" if exit == exits - 1 else f"branch {exit}"


def short(name: str, length: int = NAME) -> str:
    """A name for a plot: one line, not too long, no formula."""
    name = " ".join(name.encode("utf-8", "backslashreplace").decode().split())
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name if NO_MATH else name.replace("$", "\\$")
