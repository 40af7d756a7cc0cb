"""Which branches of a model are worth keeping, from what its exits answered to labelled videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tlee.modes import exit_name
from tlee.reports.exit_faults import CHANCE, against_chance
from tlee.reports.metrics import paired

FEWEST = 30  # videos, none of which uses a branch, from where fewer than one in ten can be expected to


def useless_branches(layers: np.ndarray, hits: np.ndarray, macs: np.ndarray, chance: float) -> dict[int, str]:
    """The branches that bring nothing, and why.

    Args:
        layers: (N, T) int, the exit that each used frame left at with early exits; negative for unused frames.
        hits: (N, T, B + 1) bool, which videos each fixed exit gets right.
        macs: (T, B + 1), what that costs.
        chance: accuracy of always answering the largest class, 0 to 1.
    """
    videos, _, exits = hits.shape
    found: dict[int, str] = {}
    for b in range(exits - 1):
        better = [c for c in range(exits) if c != b and macs[0, c] <= macs[0, b] and _dominates(hits, c, b)]
        if all(against_chance(hits[:, t, b], chance) == CHANCE for t in (0, -1)):
            found[b] = "as by chance on one frame and on all"
        elif better:
            found[b] = f"{exit_name(better[0], exits)} is more often right and costs no more"
        elif videos >= FEWEST and not (layers == b).any():
            found[b] = f"no frame of {videos} videos leaves there"
    return found


def branch_line(useless: Mapping[int, str], branches: int) -> str | None:
    """The suggestion as a line, None where every branch brings something. `useless` is of `useless_branches`.

    Examples:
        >>> print(branch_line({0: "as by chance on one frame and on all"}, 3))
        branches worth keeping: 1, 2 (branch 0: as by chance on one frame and on all); without the others: tlee-export \
CHECKPOINT -o NAME.tlee --branches 1,2, then tune and evaluate again
    """
    if not useless:
        return None
    why = "; ".join(f"branch {b}: {reason}" for b, reason in useless.items())
    kept = kept_branches(useless, branches)
    if not kept:
        return f"no branch is worth keeping ({why}); train them longer, or a model without (branches: 0)"
    option = f"tlee-export CHECKPOINT -o NAME.tlee --branches {','.join(map(str, kept))}"
    names = ", ".join(map(str, kept))
    return f"branches worth keeping: {names} ({why}); without the others: {option}, then tune and evaluate again"


def kept_branches(useless: Mapping[int, str], branches: int) -> Sequence[int]:
    """The numbers of the other branches."""
    return [b for b in range(branches) if b not in useless]


def _dominates(hits: np.ndarray, one: int, other: int) -> bool:
    """Whether exit `one` is surely more often right than `other` on one frame or on all, and not less on either."""
    found = [paired(hits[:, t, one], hits[:, t, other]) for t in (0, -1)]
    return all(f["difference"] >= 0 for f in found) and any(f["interval"][0] > 0 for f in found)
