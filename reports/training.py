"""What a run did, as pictures: loss, and accuracy of every exit, over the epochs of all stages."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tlee.files import atomic_write
from tlee.training.run_folder import ACCURACY_PLOT, LOSS_PLOT, Epoch, RunFolder

# Okabe and Ito's colours, told apart with any kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")


def plot_run(folder: RunFolder) -> None:
    """Write loss.png and accuracy.png into a run's folder. Raises UsageError where what it recorded is damaged."""
    epochs = folder.epochs()
    if not epochs:
        return
    for name, draw in ((LOSS_PLOT, _loss), (ACCURACY_PLOT, _accuracy)):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.subplots()
        draw(axes, epochs)
        _mark_stages(axes, epochs)
        axes.set_xlabel("epoch, over all stages")
        axes.grid(alpha=0.3)
        axes.legend(loc="best")
        picture = BytesIO()
        figure.savefig(picture, dpi=120, format="png")
        with atomic_write(str(folder.path / name), "wb") as stream:
            stream.write(picture.getvalue())


def _loss(axes: Axes, epochs: list[Epoch]) -> None:
    # Stages have losses of their own: no line leads from one to the next.
    for colour, key, label in ((COLOURS[0], "loss", "training"), (COLOURS[1], "val_loss", "validation")):
        for i, (start, rows) in enumerate(_by_stage(epochs)):
            places = range(start, start + len(rows))
            axes.plot(places, [getattr(row, key) for row in rows], ".-", color=colour, label=None if i else label)
    axes.set(ylabel="loss", title="Loss of each stage", yscale="log")


def _accuracy(axes: Axes, epochs: list[Epoch]) -> None:
    exits = len(epochs[0].val_accuracy[-1])
    for b in range(exits):
        label = "tail" if b == exits - 1 else f"branch {b}"
        values = [100 * row.val_accuracy[-1][b] for row in epochs]
        axes.plot(range(1, len(epochs) + 1), values, ".-", color=COLOURS[b % len(COLOURS)], label=label)
    title = "Validation accuracy after all frames (stage frames: after one), all leaving at one exit"
    axes.set(ylabel="accuracy, %", ylim=(0, 101), title=title)


def _by_stage(epochs: list[Epoch]) -> Iterator[tuple[int, list[Epoch]]]:
    """Number of the first epoch, from 1, and rows of every stage."""
    names = list(dict.fromkeys(row.stage for row in epochs))
    for name in names:
        rows = [row for row in epochs if row.stage == name]
        yield 1 + epochs.index(rows[0]), rows


def _mark_stages(axes: Axes, epochs: list[Epoch]) -> None:
    for start, rows in _by_stage(epochs):
        axes.axvline(start - 0.5, color="0.6", linewidth=0.8, linestyle=":")
        # Upright, since some stages are short.
        name, place = rows[0].stage, axes.get_xaxis_transform()
        axes.text(start - 0.4, 0.02, name, transform=place, va="bottom", rotation=90, fontsize=8)
