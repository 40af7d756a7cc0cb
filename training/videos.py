"""The videos of a run: read from its lists, kept in memory, and which of them turn out to be unreadable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from lightning_fabric import Fabric
from torch import Tensor

from tlee.data.labelled.cache import FrameCache, fill, frame_memory
from tlee.data.labelled.dividing import divide, shared_recordings
from tlee.data.labelled.listing import Listing, read_listing
from tlee.data.labelled.loader import READABLE, ClipDataset
from tlee.errors import InputError, UsageError
from tlee.reading import MB
from tlee.training.config import TrainingConfig
from tlee.training.stages import across


def read_data(config: TrainingConfig) -> tuple[Listing, Listing]:
    """The videos to train on, and those to validate with.

    Raises:
        UsageError: lists cannot be read, or do not fit the model or each other.
    """
    data = config.data
    train = read_listing(data.format, data.train, data.root, data.labels, "train")
    if isinstance(data.val, str):
        val = read_listing(data.format, data.val, data.val_root or data.root, data.labels, "val")
    else:
        train, val = divide(train, data.val, config.seed, data.group)
    for source, listing in ((data.train, train), (data.val, val)):
        if len(listing.classes) != config.model.classes or listing.classes != train.classes:
            problem = f"{len(listing.classes)} classes, the model has {config.model.classes}"
            if listing.classes != train.classes:
                problem = f"its classes are not those of {data.train}"
            raise UsageError(source, problem, "give train and val the same classes, as many as model.classes")
        if not listing.entries:
            raise UsageError(data.train, "no video is left to validate with", "add clips, or give data.val")
    shared = sorted({entry.path for entry in train.entries} & {entry.path for entry in val.entries})
    if shared:
        problem = f"{len(shared)} of its videos are also trained on (first: {shared[0]})"
        raise UsageError(str(data.val), problem, "validate on others")
    if data.group is not None:
        recordings = shared_recordings(train, val, data.group)
        if recordings:
            problem = f"{len(recordings)} of its recordings are also trained on (first: {recordings[0]})"
            raise UsageError(str(data.val), problem, "validate on others")
    return train, val


def cache_frames(wanted: bool | None, sets: list[ClipDataset], processes: int) -> bool:
    """Give sets of videos caches; returns whether they have them.

    Args:
        wanted: None for where their frames fit into a quarter of the free memory, shared by all `processes`.
    """
    limit = None if wanted else frame_memory() // processes
    fits = limit is None or sum(clips.most_bytes() for clips in sets) <= limit
    if wanted is False or not fits:
        return False
    for clips in sets:
        clips.cache = FrameCache(limit)
    return True


def fill_caches(sets: list[ClipDataset], threads: int, shown: bool) -> str:
    """Read all frames that the sets' caches keep. Returns a line about them; empty without caches."""
    for clips in sets:
        if clips.cache is not None:
            fill(partial(_keep, clips), len(clips), threads, shown)
    caches = [clips.cache for clips in sets if clips.cache is not None]
    size, count = sum(cache.bytes for cache in caches) / MB, sum(map(len, caches))
    return f"frames of {count} videos are kept in memory: {size:.0f} MB" if caches else ""


def _keep(clips: ClipDataset, index: int) -> None:
    with suppress(InputError):  # it is reported when an example needs it
        clips.keep(index, threads=1)


class UnreadableVideos:
    """The unreadable videos of one set, found in any of several processes and reported once.

    Args:
        name: of the set, for messages.
        clips: its videos.
        fabric: connects the processes.
        fail: whether one ends the run.
    """

    def __init__(self, name: str, clips: ClipDataset, fabric: Fabric, fail: bool) -> None:
        self._name, self._clips, self._fabric, self._fail = name, clips, fabric, fail
        self._found = torch.zeros(len(clips), dtype=torch.bool)  # in this process
        self._reported = self._found.clone()

    def add(self, unreadable: Tensor) -> None:
        """Note the unreadable videos of a `Batch`."""
        self._found[unreadable[unreadable != READABLE]] = True

    def fail_now(self, unreadable: Tensor) -> None:
        """End the run in all processes at once if one of them has met an unreadable video. Raises InputError."""
        if self._fail:
            worst = int(across(self._fabric, unreadable.max(), "max"))
            if worst != READABLE:
                raise self._clips.problem(worst)

    def report(self, report: Callable[[InputError], None]) -> None:
        """Report every video that was found since the last report, with the reason.

        Raises:
            InputError: there is one, and it ends the run.
            UsageError: no video can be read.
        """
        found = across(self._fabric, self._found.int(), "max").bool()
        for index in torch.nonzero(found & ~self._reported).flatten().tolist():
            problem = self._clips.problem(index)
            if self._fail:
                raise problem
            report(problem)
        if found.all():
            raise self.nothing_left()
        self._found, self._reported = found.clone(), found

    def nothing_left(self) -> UsageError:
        """What ends a run without a single readable video."""
        problem, first = f"none of {len(self._clips)} can be read", self._clips.problem(0)
        return UsageError(f"{self._name} videos", problem, f"the first: {first}")

    def summary(self) -> str:
        """How many were reported; empty for none."""
        count = int(self._reported.sum())
        return f"{count} of {len(self._clips)} {self._name} videos could not be read" if count else ""
