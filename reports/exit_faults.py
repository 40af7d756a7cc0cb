"""Which exits answer no better than chance: what a table of accuracies does not say by itself. Needs NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tlee.modes import exit_name
from tlee.reports.metrics import correct, targets_of, wilson

CHANCE, UNSURE = "by chance", "cannot be told"
TELLING = 0.25  # an interval that reaches this far above chance, or half of what chance leaves, tells nothing
ONE_CLASS = 0.8  # share of the videos, and of those of other classes, from where an exit answers one class only
FEWEST = 3  # videos of other classes that it takes to say so


def exit_faults(predicted: np.ndarray, labels: Sequence[Sequence[int]], classes: Sequence[str]) -> list[str]:
    """A line for each exit that is at chance or answers one class only; none where all is well.

    Chance is always answering the largest class, which is never worse than guessing. An exit is at chance if the 95 %
    interval (Wilson) of its accuracy reaches that, and no useful accuracy; where it reaches both, the videos are too
    few, and one line says so of all such exits.

    Args:
        predicted: (N, B + 1) class numbers, the tail last.
        labels: of each video its class numbers; naming any of them is right.
        classes: K names.

    Examples:
        >>> always, right = [0] * 40, [i % 4 for i in range(40)]
        >>> exit_faults(np.array([always, right]).T, [(c,) for c in right], ["jump", "run", "wave", "walk"])
        ["branch 0 answers 'jump' for 40 of 40 videos; 10 are"]
    """
    targets = targets_of(labels, len(classes))
    videos, exits = predicted.shape
    chance = chance_of(targets)
    if chance == 1:
        only = classes[int(targets.all(0).argmax())]
        return [f"all {videos} videos are of class '{only}', which tells nothing of an exit"]
    lines, unsure = [], []
    for b, name in enumerate(exit_name(b, exits) for b in range(exits)):
        hits = correct(predicted[:, b], targets)
        found = against_chance(hits, chance)
        if not found:
            continue
        one = _one_class(predicted[:, b], targets)
        if one is not None:
            count, own = int((predicted[:, b] == one).sum()), int(targets[:, one].sum())
            lines.append(f"{name} answers '{classes[one]}' for {count} of {videos} videos; {own} are")
        elif found == UNSURE:
            unsure.append(name)
        else:
            low, high = (100 * bound for bound in wilson(hits.mean(), videos))
            lines.append(
                f"{name} answers as by chance: {100 * hits.mean():.1f} % of {videos} videos "
                f"(chance {100 * chance:.1f} %, 95 % interval {low:.1f} to {high:.1f})"
            )
    if unsure:
        names = ", ".join(unsure)
        lines.append(f"{names}: cannot be told from chance on so few videos ({videos}, chance {100 * chance:.1f} %)")
    return lines


def chance_of(targets: np.ndarray) -> float:
    """The accuracy, 0 to 1, of always answering the largest class; `targets` as of `tlee.reports.metrics`."""
    return float(targets.mean(0).max())


def against_chance(hits: np.ndarray, chance: float) -> str | None:
    """`CHANCE` for an exit that is at chance, `UNSURE` where its videos are too few to tell, None for one that is
    better. `hits`: (N,) bool, which videos it gets right."""
    low, high = wilson(hits.mean(), len(hits))
    if low > chance:
        return None
    return CHANCE if high < chance + min(TELLING, (1 - chance) / 2) else UNSURE


def _one_class(predicted: np.ndarray, targets: np.ndarray) -> int | None:
    """The one class that nearly all videos are given, whatever they show."""
    one = int(np.bincount(predicted).argmax())
    given, others = predicted == one, ~targets[:, one]
    enough = others.sum() >= FEWEST and given.mean() >= ONE_CLASS
    return one if enough and given[others].mean() >= ONE_CLASS else None
