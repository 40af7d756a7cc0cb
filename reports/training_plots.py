"""A training as pictures: loss, and accuracy of every exit, over the epochs of all stages.

An epoch is {"stage", "loss", "val_loss", "val_accuracy" (by frames seen and exit)}.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlee.reports.plots import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Report, exit_name

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY)


def loss_plot(epochs: list[Report]) -> bytes:
    """A PNG of the losses. Stages have losses of their own: no line leads from one to the next."""
    figure, axes = _over_epochs(epochs)
    for colour, key, label in ((BLUE, "loss", "training"), (ORANGE, "val_loss", "validation")):
        for i, (start, rows) in enumerate(_by_stage(epochs)):
            values = [row[key] for row in rows]
            axes.plot(range(start, start + len(rows)), values, ".-", color=colour, label=None if i else label)
    axes.set(ylabel="loss", title="Loss of each stage", yscale="log")
    return _png(figure)


def accuracy_plot(epochs: list[Report]) -> bytes:
    """A PNG of every exit's accuracy."""
    figure, axes = _over_epochs(epochs)
    exits = len(epochs[0]["val_accuracy"][-1])
    for b in range(exits):
        values = [100 * row["val_accuracy"][-1][b] for row in epochs]
        colour = COLOURS[b % len(COLOURS)]
        axes.plot(range(1, len(epochs) + 1), values, ".-", color=colour, label=exit_name(b, exits))
    title = "Validation accuracy after all frames (stage frames: after one), all leaving at one exit"
    axes.set(ylabel="accuracy, %", ylim=(0, 101), title=title)
    return _png(figure)


def _over_epochs(epochs: list[Report]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for start, rows in _by_stage(epochs):
        axes.axvline(start - 0.5, color="0.6", linewidth=0.8, linestyle=":")
        # Upright, since some stages are short.
        name = axes.text(start - 0.4, 0.02, rows[0]["stage"], va="bottom", rotation=90, fontsize=8)
        name.set_transform(axes.get_xaxis_transform())
    axes.set_xlabel("epoch, over all stages")
    axes.grid(alpha=0.3)
    return figure, axes


def _by_stage(epochs: list[Report]) -> Iterator[tuple[int, list[Report]]]:
    """Number of the first epoch, from 1, and rows of every stage."""
    for name in dict.fromkeys(row["stage"] for row in epochs):
        rows = [row for row in epochs if row["stage"] == name]
        yield 1 + epochs.index(rows[0]), rows


def _png(figure: Figure) -> bytes:
    figure.axes[0].legend(loc="best")
    picture = BytesIO()
    figure.savefig(picture, dpi=120, format="png")
    return picture.getvalue()
