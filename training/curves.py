"""The pictures in a run's folder."""

from __future__ import annotations

from tlee.files import atomic_write
from tlee.reports.training_plots import accuracy_plot, loss_plot
from tlee.training.run_folder import ACCURACY_PLOT, LOSS_PLOT, RunFolder


def plot_run(folder: RunFolder) -> None:
    """Write loss.png and accuracy.png into a run's folder. Raises UsageError where what it recorded is damaged."""
    epochs = [epoch.model_dump() for epoch in folder.epochs()]
    for name, draw in ((LOSS_PLOT, loss_plot), (ACCURACY_PLOT, accuracy_plot)) if epochs else ():
        with atomic_write(str(folder.path / name), "wb") as stream:
            stream.write(draw(epochs))
