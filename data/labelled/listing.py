"""Which videos a data set has and which classes they show, in any of the `FORMATS`.

Looks at lists and file names only. A missing or damaged video is found out when it is decoded.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tlee.data.folder import PICTURES
from tlee.data.labelled.class_names import read_class_names, shortened
from tlee.data.labelled.formats import FOLDERS, FORMATS, Format, ignored_files, visible_names
from tlee.data.labelled.rows import Row, Split
from tlee.data.video import VIDEOS
from tlee.errors import UsageError

__all__ = ["FORMATS", "Entry", "Listing", "read_listing", "split_listing"]
Findings = dict[str, list[str]]  # what is odd about a list, and where


@dataclass(frozen=True)
class Entry:
    """One video of a data set."""

    path: Path  # a video file or a folder of pictures, where it is expected
    labels: tuple[int, ...]  # class indices, sorted, distinct
    frames: int | None = None  # number that its list states


@dataclass(frozen=True)
class Listing:
    """The videos of a data set and its classes."""

    entries: list[Entry]
    classes: list[str]  # names, by index
    flips: bool  # whether a mirrored video keeps its class
    notes: list[str]  # what is odd about the list, a line each
    root: Path | None = None  # the folder that its paths are relative to


def read_listing(
    format: str,
    source: str | Path,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    split: Split = "train",
) -> Listing:
    """The videos of a data set, in the order of its list.

    Args:
        format: a key of `FORMATS`.
        source: the list file, or for `folders` the folder with one subfolder per class.
        root: the folder that the list's paths are relative to; None for the list's own. Not for `folders`.
        labels: a file with class names, see `read_class_names`; None for those of the list.
        split: which videos of a file that contains several splits. Other sources are one split, taken whole.

    Raises:
        UsageError: a file cannot be read, is not of this format, contradicts itself or the labels, or lists nothing.
    """
    if format not in FORMATS:
        raise UsageError("data format", f"'{format}' is not known", f"use one of {', '.join(FORMATS)}")
    kind, source = FORMATS[format], Path(source)
    folder = _paths_folder(format, source, root)
    rows = list(kind.rows(source, split))
    classes, labels = _classes(kind, source, labels, rows)
    index: dict[str | int, int] = {label: i for i, name in enumerate(classes) for label in (i, name)}
    unknown = next(((row.where, label) for row in rows for label in row.labels if label not in index), None)
    if unknown:
        where, label = unknown
        known = f"the {len(classes)} classes of {labels or format}"
        problem = f"{where}: label '{shortened(str(label))}' is none of {known}"
        raise UsageError(source, problem, "give the label file that belongs to this list; numbers count from 0")
    findings: Findings = defaultdict(list)
    if kind.classes and not _numbered(rows) and len(classes) != kind.classes:
        findings[f"classes, where {kind.classes} are published"].append(str(len(classes)))
    entries = []
    for row in _distinct(source, rows, findings):
        path = _find_video(row, folder, kind.suffix, findings)
        entries.append(Entry(path, tuple(sorted(index[label] for label in row.labels)), row.frames))
    if format == "folders":
        what = "files left out, since no class has them, or by their names they are no videos"
        findings[what] = ignored_files(source)
    if not entries:
        raise UsageError(source, f"no clips here for {split}", f"give a list with videos of this split, or {FOLDERS}")
    used = _labels_of(entries)
    findings["classes without videos"] = [f"'{name}'" for label, name in enumerate(classes) if label not in used]
    return Listing(entries, classes, kind.flips, _notes(findings), folder)


def split_listing(listing: Listing, share: float, seed: int) -> tuple[Listing, Listing]:
    """Set part of every class aside for validation: (train, val), each in the listing's order, notes with the first.

    Of each class `share` of the videos is taken, rounded, but at least one and never the last; a video with several
    classes only if each of them can spare one. `seed` determines which. Clips cut from one recording may end up on both
    sides; `tlee.data.labelled.dividing.divide` keeps recordings together.

    Raises:
        UsageError: the share is not between 0 and 1, or no class has two videos.
    """
    if not 0 < share < 1:
        raise UsageError("validation share", f"{share} is not between 0 and 1", "use for instance 0.1")
    counts = Counter(label for entry in listing.entries for label in entry.labels)
    left = {label: min(max(1, int(share * count + 0.5)), count - 1) for label, count in counts.items()}
    order, chosen = list(range(len(listing.entries))), set()
    random.Random(seed).shuffle(order)
    for i in order:
        if all(left[label] for label in listing.entries[i].labels):
            chosen.add(i)
            left.update({label: left[label] - 1 for label in listing.entries[i].labels})
    if not chosen:
        raise UsageError("validation share", "no class has two videos to divide", "add videos, or list others for val")
    val = [entry for i, entry in enumerate(listing.entries) if i in chosen]
    train = [entry for i, entry in enumerate(listing.entries) if i not in chosen]
    whole = [f"'{listing.classes[label]}'" for label in sorted(set(counts) - _labels_of(val))]
    notes = listing.notes + _notes({"classes with too few videos to give one to validation": whole})
    return replace(listing, entries=train, notes=notes), replace(listing, entries=val, notes=[])


def _numbered(rows: list[Row]) -> bool:
    """Whether a list names classes by index."""
    return any(isinstance(label, int) for row in rows for label in row.labels)


def _classes(
    kind: Format, source: Path, labels: str | Path | None, rows: list[Row]
) -> tuple[list[str], str | Path | None]:
    """The names of the classes by index, and the file that has them, if any."""
    official = bool(kind.class_file and rows and rows[0].frames is None)
    if labels is None and official and (source.parent / kind.class_file).is_file():
        labels = source.parent / kind.class_file
    if labels is not None:
        return read_class_names(labels), labels
    if official and any(isinstance(label, str) for row in rows for label in row.labels):
        problem = f"names its classes, whose numbers stand in {kind.class_file}"
        raise UsageError(source, problem, "put that file beside it, or give it (data.labels, --labels)")
    if _numbered(rows):
        return [f"class {i}" for i in range(kind.classes)], None
    return sorted({str(label) for row in rows for label in row.labels}), None


def _paths_folder(format: str, source: Path, root: str | Path | None) -> Path:
    """The folder that a list's paths are relative to."""
    if root is None:
        return source if format == "folders" else source.parent
    if format == "folders":
        raise UsageError(source, f"root {root} given for folders, which have none", "leave the root out")
    if not Path(root).is_dir():
        raise UsageError(root, "no such folder", "give the folder that the list's paths start from")
    return Path(root)


def _distinct(source: Path, rows: list[Row], findings: Findings) -> Iterator[Row]:
    """The rows wanted, each once. A duplicate is harmless, but of two with different classes one is wrong."""
    seen: dict[str, Row] = {}
    for row in rows:
        if row.wanted and not row.labels:
            findings["videos without a class, left out"].append(row.where)
        elif row.wanted:
            first = seen.setdefault(row.names[0], row)
            if first is row:
                yield row
            elif first.labels == row.labels:
                findings["videos listed again, used once"].append(row.where)
            else:
                problem = f"{row.where}: '{shortened(row.names[0])}' has another class in {first.where}"
                raise UsageError(source, problem, "remove the wrong one")


def _find_video(row: Row, root: Path, suffix: str, findings: Findings) -> Path:
    """The folder or file of a row's name, or the video of that name with a known suffix."""
    for name in row.names:
        for path in (os.path.join(root, name + ending) for ending in ("", *VIDEOS)):
            if os.path.exists(path):
                if row.frames is not None and os.path.isdir(path):
                    _compare_frame_count(row.frames, path, findings)
                return Path(path)
    missing = root / (row.names[0] + suffix)
    findings["videos that are not there"].append(str(missing))
    return missing


def _compare_frame_count(listed: int, path: str, findings: Findings) -> None:
    """Compare a folder with its list. Listing 200,000 folders takes some 15 s, from a cold disk minutes."""
    with contextlib.suppress(OSError):  # reported when it is decoded
        count = sum(name.lower().endswith(PICTURES) for name in visible_names(path))
        if count < listed:
            findings["folders with fewer pictures than listed"].append(f"{path}, {count} for {listed}")
        elif count > listed:  # optical flow is often kept in the same folder as the frames, and would be taken for them
            which = "folders with more pictures than listed, from all of which uniform sampling draws"
            findings[which].append(f"{path}, {count} for {listed}")


def _labels_of(entries: list[Entry]) -> set[int]:
    return {label for entry in entries for label in entry.labels}


def _notes(findings: Findings) -> list[str]:
    return [f"{what}: {len(where)} (first: {where[0]})" for what, where in findings.items() if where]
