"""The videos that calibration reads: one part for choosing, another for reporting, and none in both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlee.data.labelled.listing import Entry, Listing, split_listing
from tlee.data.labelled.loader import ClipDataset, readable_batches
from tlee.errors import InputError, UsageError
from tlee.evaluation.evaluate import fitted
from tlee.frames import FrameSpec

FEW = 200  # fewer are too few to hold some out: all serve to choose, and to report by cross-fitting
MIN_VIDEOS = 20  # of a part: with fewer, one video is more than 5 points of accuracy
GIVE_MORE = "give more videos (--data), or another --share"
Videos = Iterator[tuple[Entry, np.ndarray]]  # with their frames, (T, H, W, 3) uint8


class Parts(NamedTuple):
    """Two disjoint sets of videos."""

    tuning: Listing  # for choosing
    held_out: Listing  # for reporting alone


def divide(
    listing: Listing, held_out: Listing | None, labels: list[str], path: str, share: float = 0.5, seed: int = 0
) -> Parts:
    """Part the videos, each class in the same proportion.

    Args:
        held_out: videos to report on, instead of a share of `listing`.
        labels, path: of the bundle that they are for.
        share: of the videos to hold out, drawn by `seed`.

    Raises:
        UsageError: a video is in both, a part has too few videos or lacks a class, or the classes do not fit.
    """
    listing = fitted(listing, labels, path)
    if held_out is None:
        parts = Parts(*split_listing(listing, share, seed))
    else:
        parts = Parts(listing, fitted(held_out, labels, path))
    paths = {entry.path.resolve() for entry in parts.tuning.entries}
    twice = [entry.path for entry in parts.held_out.entries if entry.path.resolve() in paths]
    if twice:
        raise UsageError(twice[0], "is among the videos to choose by and those to report on", "hold out other videos")
    for name, part in zip(("tuning", "held-out"), parts):
        check_part(name, part.entries, labels)
    return parts


def undivided(listing: Listing, labels: list[str], path: str) -> Parts:
    """All videos for choosing, none held out. Arguments and errors as of `divide`."""
    listing = fitted(listing, labels, path)
    check_part("tuning", listing.entries, labels)
    return Parts(listing, replace(listing, entries=[], notes=[]))


def check_part(name: str, entries: Sequence[Entry], labels: list[str]) -> None:
    """Raises UsageError: too few videos, or none of a class."""
    present = {label for entry in entries for label in entry.labels}
    missing = [label for i, label in enumerate(labels) if i not in present]
    if len(entries) < MIN_VIDEOS:
        raise UsageError(f"{name} videos", f"{len(entries)}, at least {MIN_VIDEOS} are needed", GIVE_MORE)
    if missing:
        raise UsageError(f"{name} videos", f"none of class '{missing[0]}'", GIVE_MORE)


class VideoReader:
    """Reads the parts, as often as wanted, the tuning part first; `workers` processes decode, 0 for this one.

    Held-out videos with the same frames as a tuning video are left out, whatever their names.
    """

    def __init__(self, spec: FrameSpec, workers: int = 0) -> None:
        self.unreadable: dict[Path, InputError] = {}  # and why
        self.repeated: set[Path] = set()  # held-out videos that were left out
        self._spec, self._workers = spec, workers
        self._tuning: set[bytes] = set()

    def tuning(self, listing: Listing, task: str) -> Videos:
        """Each readable video and its frames."""
        for entry, frames in self._read(listing, task):
            self._tuning.add(_digest(frames))
            yield entry, frames

    def held_out(self, listing: Listing, task: str) -> Videos:
        """The same, without those that were read for tuning."""
        for entry, frames in self._read(listing, task):
            if _digest(frames) in self._tuning:
                self.repeated.add(entry.path)
            else:
                yield entry, frames

    def _read(self, listing: Listing, task: str) -> Videos:
        batches = readable_batches(ClipDataset(listing, self._spec), self.unreadable, workers=self._workers, task=task)
        for entries, frames in batches:
            yield from zip(entries, frames.numpy())


def _digest(frames: np.ndarray) -> bytes:
    return hashlib.sha256(frames.tobytes()).digest()
