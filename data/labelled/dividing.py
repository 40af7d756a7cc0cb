"""Dividing a data set for training and validation so that no recording is on both sides."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

from tlee.data.labelled.listing import Listing, split_listing
from tlee.data.labelled.recordings import Recordings, clip_names, given_recordings, guessed_recordings
from tlee.errors import UsageError

DRAWS = 20  # of which the one that keeps the classes' shares best is taken
DRAWN = 200_000  # recordings in all draws, at most: one more draw for every fewer
PASSES = 10  # over the recordings of a draw
MISSING, EMPTIED = 1.0, 1e6  # what it costs that validation, or training, has nothing of a class; shares cost below 1
ONE_BY_ONE = (
    "clips are held out one by one, for their names tell no recordings: with clips of one recording on both sides, "
    "validation looks too good; name recordings with data.group, or give data.val videos of others"
)


def divide(listing: Listing, share: float, seed: int, group: str | None = None) -> tuple[Listing, Listing]:
    """Set whole recordings aside for validation: (train, val), with notes in the first on how that was done.

    Args:
        share: of each class's clips to hold out, between 0 and 1; kept as nearly as recordings allow.
        seed: determines which.
        group: see `given_recordings`; None to guess. Where nothing can be guessed, clips are held out one by one.

    Raises:
        UsageError: as `given_recordings` and `split_listing`, or no recording can be spared.
    """
    if group is not None:
        recordings: Recordings | None = Recordings(given_recordings(listing, group), "as data.group says")
    else:
        recordings = guessed_recordings(listing)
    if recordings is None:
        train, val = split_listing(listing, share, seed)
        return replace(train, notes=[*train.notes, ONE_BY_ONE]), val
    held_out = _held_out(listing, recordings.names, share, seed)
    named = list(zip(listing.entries, recordings.names))
    learnt = [entry for entry, name in named if name not in held_out]
    kept = [entry for entry, name in named if name in held_out]
    count, part = len(set(recordings.names)), len(kept) / len(named)
    how = recordings.rule if group is not None else _guess(listing, recordings)
    notes = [f"{len(held_out)} of {count} recordings are held out, {part:.0%} of the clips; recordings are {how}"]
    without = {label for entry in learnt for label in entry.labels} - {label for one in kept for label in one.labels}
    if without:
        first = listing.classes[min(without)]
        notes.append(f"classes with too few recordings to give one to validation: {len(without)} (first: '{first}')")
    return replace(listing, entries=learnt, notes=listing.notes + notes), replace(listing, entries=kept, notes=[])


def shared_recordings(train: Listing, val: Listing, group: str) -> list[str]:
    """The recordings that have clips in both. Raises UsageError as `given_recordings`."""
    return sorted({*given_recordings(train, group)}.intersection(given_recordings(val, group)))


def _guess(listing: Listing, recordings: Recordings) -> str:
    example, count = Counter(recordings.names).most_common(1)[0]
    first = clip_names(listing)[recordings.names.index(example)]
    of_it = f"as '{example}' of {first} and {count - 1} other{'s' * (count != 2)}"
    return f"guessed from file names, by {recordings.rule}, {of_it}; if that is wrong, name them with data.group"


def _held_out(listing: Listing, names: list[str], share: float, seed: int) -> set[str]:
    """The recordings to hold out: of each class about `share` of the clips, of none the only recording."""
    counts: dict[str, Counter[int]] = {}
    for entry, name in zip(listing.entries, names):
        counts.setdefault(name, Counter()).update(entry.labels)
    totals, spread = Counter[int](), Counter[int]()
    for each in counts.values():
        totals.update(each)
        spread.update(each.keys())
    free = [name for name, each in counts.items() if all(spread[label] > 1 for label in each)]
    if not free:
        problem = "each recording is the only one of some class"
        raise UsageError("validation share", problem, "add recordings, or list others for val")
    generator = random.Random(seed)
    draws = [_draw(free, counts, totals, share, generator) for _ in range(max(1, min(DRAWS, DRAWN // len(free))))]
    return min(draws, key=lambda draw: draw[0])[1]


def _draw(
    free: list[str], counts: dict[str, Counter[int]], totals: Counter[int], share: float, generator: random.Random
) -> tuple[float, set[str]]:
    """Recordings in random order, each taken or put back where that brings the classes nearer to their shares: what is
    left to wish, and which are taken."""

    def cost(label: int, count: int) -> float:
        missing = MISSING * (count == 0) + EMPTIED * (count == totals[label])
        return (count / totals[label] - share) ** 2 + missing

    order = generator.sample(free, len(free))
    taken: set[str] = set()
    held = Counter[int]()
    for _ in range(PASSES):
        before = set(taken)
        for name in order:
            sign = -1 if name in taken else 1
            change = sum(cost(c, held[c] + sign * n) - cost(c, held[c]) for c, n in counts[name].items())
            if change < 0:
                taken ^= {name}
                held.update({label: sign * n for label, n in counts[name].items()})
        if taken == before:
            break
    return sum(cost(label, held[label]) for label in totals), taken
