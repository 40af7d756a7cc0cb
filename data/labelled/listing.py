"""Which videos a data set has and which classes they show: the lists as published, or one folder per class.

Reads lists and names only. Nothing is decoded: a video that is missing or damaged is found out when it is read.
"""

from __future__ import annotations

import csv
import io
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tlee.data.video import PICTURES, VIDEOS
from tlee.errors import UsageError
from tlee.reading import JSON_LIMIT, MB, parse_json, read_text

Split = Literal["train", "val"]
Odd = dict[str, list[str]]  # what was odd, and where
LIST_LIMIT = 128 * MB  # of a list in text; that of Kinetics-700, 650,000 videos, has 40 MB
NUMBER = re.compile("[0-9]{1,9}")
NUMBERED = re.compile(r"[0-9]{1,9}\s+\S")
SECONDS = re.compile(r"([0-9]{1,6})(\.0*)?")
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "val"}
SUBSETS = {"training": "train", "validation": "val"}
FOLDERS = "a folder with one subfolder of clips per class"


@dataclass(frozen=True)
class Entry:
    """One video of a data set."""

    path: Path  # a video file or a folder of pictures, where it is expected
    labels: tuple[int, ...]  # class indices, sorted, distinct
    frames: int | None = None  # that its list states


@dataclass(frozen=True)
class Listing:
    """The videos of a data set and its classes."""

    entries: list[Entry]
    classes: list[str]  # names, by index
    flips: bool  # whether a mirrored video keeps its class
    notes: list[str]  # oddities, a line each


class Row(NamedTuple):
    """What a list says about one video. `names`: where it may lie below the root, as expected first."""

    where: str
    names: tuple[str, ...]
    labels: tuple[str, ...]
    wanted: bool = True
    frames: int | None = None


def read_listing(
    format: str,
    source: str | Path,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    split: Split = "train",
) -> Listing:
    """The videos of a data set, in the order of its list.

    Args:
        format: a name of `FORMATS`.
        source: the list file, or for `folders` the folder with one subfolder per class.
        root: where the list's paths start; without it the list's own folder. Not for `folders`.
        labels: a file with class names in order: one a line, or numbered as `classInd.txt`, or JSON as ssv2's.
        split: which videos of a file that holds several splits. Other sources are one split, taken whole.

    Raises:
        UsageError: a file cannot be read, is not of this format, contradicts itself or the labels, or lists nothing.
    """
    if format not in FORMATS:
        raise UsageError("data format", f"'{format}' is not known", f"use one of {', '.join(FORMATS)}")
    kind, source = FORMATS[format], Path(source)
    home = _home(format, source, root)
    rows = list(kind.read(source, split))
    classes = _own_classes(kind, rows) if labels is None else _read_names(Path(labels))
    index = {str(i) if kind.numbered else name: i for i, name in enumerate(classes)}
    _check_labels(source, rows, index, labels or format)
    odd: Odd = defaultdict(list)
    if kind.classes and not kind.numbered and len(classes) != kind.classes:
        odd[f"classes, where {kind.classes} are published"].append(str(len(classes)))
    entries = []
    for row in _distinct(source, rows, odd):
        path = _find(row, home, kind.suffix, odd)
        entries.append(Entry(path, tuple(sorted(index[label] for label in row.labels)), row.frames))
    if format == "folders":
        odd["files left out, since no class has them, or by their names they are no videos"] = _left_out(source)
    if not entries:
        raise UsageError(source, f"no clips here for {split}", f"give a list with videos of this split, or {FOLDERS}")
    used = _labels(entries)
    odd["classes without videos"] = [f"'{name}'" for label, name in enumerate(classes) if label not in used]
    return Listing(entries, classes, kind.flips, _told(odd))


def split_listing(listing: Listing, share: float, seed: int) -> tuple[Listing, Listing]:
    """Part of every class set aside for validation: (train, val), each in the listing's order, notes with the first.

    A class gives `share` of its videos, rounded, but at least one and never its last. A video with several classes
    is given only if each of them has one to give. `seed` draws which; that several clips may be cut from one
    recording is not known here.

    Raises:
        UsageError: the share is not between 0 and 1, or no class has two videos.
    """
    if not 0 < share < 1:
        raise UsageError("validation share", f"{share} is not between 0 and 1", "use for instance 0.1")
    counts = Counter(label for entry in listing.entries for label in entry.labels)
    left = {label: min(max(1, int(share * count + 0.5)), count - 1) for label, count in counts.items()}
    drawn, chosen = list(range(len(listing.entries))), set()
    random.Random(seed).shuffle(drawn)
    for i in drawn:
        if all(left[label] for label in listing.entries[i].labels):
            chosen.add(i)
            left.update({label: left[label] - 1 for label in listing.entries[i].labels})
    if not chosen:
        raise UsageError("validation share", "no class has two videos to divide", "add videos, or list others for val")
    val = [entry for i, entry in enumerate(listing.entries) if i in chosen]
    train = [entry for i, entry in enumerate(listing.entries) if i not in chosen]
    whole = [f"'{listing.classes[label]}'" for label in sorted(set(counts) - _labels(val))]
    notes = listing.notes + _told({"classes with too few videos to give one to validation": whole})
    return replace(listing, entries=train, notes=notes), replace(listing, entries=val, notes=[])


def _home(format: str, source: Path, root: str | Path | None) -> Path:
    """Where a list's paths start."""
    if root is None:
        return source if format == "folders" else source.parent
    if format == "folders":
        raise UsageError(source, f"root {root} given for folders, which have none", "leave the root out")
    if not Path(root).is_dir():
        raise UsageError(root, "no such folder", "give the folder that the list's paths start from")
    return Path(root)


def _own_classes(kind: Format, rows: list[Row]) -> list[str]:
    if kind.numbered:
        return [f"class {i}" for i in range(kind.classes)]
    return sorted({label for row in rows for label in row.labels})


def _check_labels(source: Path, rows: list[Row], index: dict[str, int], names: object) -> None:
    for row in rows:
        for label in row.labels:
            if label not in index:
                problem = f"{row.where}: label '{_short(label)}' is none of the {len(index)} classes of {names}"
                raise UsageError(source, problem, "give the label file that belongs to this list; numbers count from 0")


def _distinct(source: Path, rows: list[Row], odd: Odd) -> Iterator[Row]:
    """The rows wanted. One given twice is harmless, but a video with another class is not: one row is wrong."""
    seen: dict[str, Row] = {}
    for row in rows:
        if row.wanted and not row.labels:
            odd["videos without a class, left out"].append(row.where)
        elif row.wanted:
            first = seen.setdefault(row.names[0], row)
            if first is row:
                yield row
            elif first.labels == row.labels:
                odd["videos listed again, used once"].append(row.where)
            else:
                problem = f"{row.where}: '{_short(row.names[0])}' has another class in {first.where}"
                raise UsageError(source, problem, "remove the wrong one")


def _find(row: Row, root: Path, suffix: str, odd: Odd) -> Path:
    """The folder or file of a row's name, or the video of that name with a known suffix."""
    for name in row.names:
        for path in (os.path.join(root, name + ending) for ending in ("", *VIDEOS)):
            if os.path.exists(path):
                _count(row, path, odd)
                return Path(path)
    missing = root / (row.names[0] + suffix)
    odd["videos that are not there"].append(str(missing))
    return missing


def _count(row: Row, path: str, odd: Odd) -> None:
    """Compare a folder with its list: one look into it, for 200,000 of them some 15 s, from a cold disk minutes."""
    if row.frames is None or not os.path.isdir(path):
        return
    try:
        count = sum(name.lower().endswith(PICTURES) for name in _names(path))
    except OSError:  # found out when it is read
        return
    if count != row.frames:
        # Optical flow often lies beside the frames, and would be taken for them.
        more = "more pictures than listed, from all of which uniform sampling draws"
        which = "fewer pictures than listed" if count < row.frames else more
        odd[f"folders with {which}"].append(f"{path}, {count} for {row.frames}")


def _read_folders(source: Path, split: Split) -> Iterator[Row]:
    try:
        for label in (name for name in _names(source) if (source / name).is_dir()):
            yield Row(label, (), (label,), wanted=False)  # a class, whatever is in it
            for name in _names(source / label):
                if name.lower().endswith(VIDEOS) or (source / label / name).is_dir():
                    yield Row(f"{label}/{name}", (f"{label}/{name}",), (label,))
    except OSError as error:
        raise UsageError(error.filename, f"no clips here ({error.strerror})", f"give {FOLDERS}") from None


def _left_out(source: Path) -> list[str]:
    """Files that are not read: video files beside the classes, and others than videos in them."""
    found = [name for name in _names(source) if name.lower().endswith(VIDEOS) and not (source / name).is_dir()]
    for label in (name for name in _names(source) if (source / name).is_dir()):
        others = (name for name in _names(source / label) if not name.lower().endswith(VIDEOS))
        found += [f"{label}/{name}" for name in others if not (source / label / name).is_dir()]
    return found


def _read_list(source: Path, split: Split) -> Iterator[Row]:
    """Lists of the TSN and TSM projects: `path num_frames label` a line; a path may hold spaces."""
    for number, line in _lines(source):
        fields = line.rsplit(maxsplit=2)
        if len(fields) != 3 or not all(NUMBER.fullmatch(field) for field in fields[1:]):
            problem = f"line {number} is not 'path num_frames label': {_short(line)}"
            raise UsageError(source, problem, "give a list of this form, with labels from 0")
        yield Row(f"line {number}", (fields[0],), (str(int(fields[2])),), frames=int(fields[1]))


def _read_kinetics(source: Path, split: Split) -> Iterator[Row]:
    rows = list(_csv_rows(source))
    several = len({SPLITS.get(row["split"].lower(), row["split"]) for _, row in rows}) > 1
    for number, row in rows:
        if several and row["split"].lower() not in SPLITS:
            problem = f"line {number}: split '{_short(row['split'])}' is not known"
            raise UsageError(source, problem, f"use one of {', '.join(SPLITS)}")
        start, end = SECONDS.fullmatch(row["time_start"]), SECONDS.fullmatch(row["time_end"])
        if not row["youtube_id"] or start is None or end is None:
            problem = f"line {number} has no youtube_id, or times that are not whole seconds"
            raise UsageError(source, problem, "correct the line")
        name = f"{row['youtube_id']}_{int(start[1]):06d}_{int(end[1]):06d}"
        labels = (row["label"],) if row["label"] else ()  # the published test split withholds them
        wanted = not several or SPLITS[row["split"].lower()] == split
        yield Row(f"line {number}", (name, f"{row['label']}/{name}"), labels, wanted)


def _csv_rows(source: Path) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(_text(source)), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise UsageError(source, f"line 1 has no column {', '.join(missing)}", f"write {','.join(COLUMNS)} there")
        for fields in reader:
            if len(fields) == len(header):
                yield reader.line_num, dict(zip(header, (field.strip() for field in fields)))
            elif any(field.strip() for field in fields):
                problem = f"line {reader.line_num} has {len(fields)} fields, the header {len(header)}"
                raise UsageError(source, problem, "put labels with commas in double quotes")
    except csv.Error as error:
        raise UsageError(source, f"line {reader.line_num} is not CSV ({error})", "correct it") from None


def _read_activitynet(source: Path, split: Split) -> Iterator[Row]:
    """The official JSON. The whole video is one example of every class that is annotated in it."""
    content = _json(source)
    try:
        for video, about in content["database"].items():
            labels = {annotation["label"] for annotation in about.get("annotations", [])}
            if not all(isinstance(text, str) for text in (about["subset"], *labels)):
                raise TypeError
            wanted = SUBSETS.get(about["subset"]) == split
            yield Row(f"video {video}", (f"v_{video}",), tuple(sorted(labels)), wanted)
    except (AttributeError, KeyError, TypeError):
        shape = '{"database": {ID: {"subset": TEXT, "annotations": [{"label": TEXT}]}}}'
        raise UsageError(source, f"not of the shape {shape}", "give the data set's own JSON file") from None


def _read_names(path: Path) -> list[str]:
    """A label file's class names in the order of their indices."""
    numbered = sorted(_json_names(path) if path.suffix.lower() == ".json" else _text_names(path))
    names = [name for _, name in numbered]
    if not names or len(set(names)) < len(names):
        raise UsageError(path, "a class is named twice" if names else "no class names here", "correct the file")
    first = numbered[0][0]
    if first > 1 or [number for number, _ in numbered] != list(range(first, first + len(names))):
        raise UsageError(path, f"its {len(names)} classes are not numbered without gaps", "give the complete file")
    return names


def _text_names(path: Path) -> list[tuple[int, str]]:
    lines = list(_lines(path))
    # The first line says whether names are numbered, so that a number lost among them is noticed.
    if not lines or not NUMBERED.match(lines[0][1]):
        return list(enumerate(line for _, line in lines))
    for number, line in lines:
        if not NUMBERED.match(line):
            raise UsageError(path, f"line {number} is not 'number name': {_short(line)}", "number every class or none")
    return [(int(number), name) for number, name in (line.split(maxsplit=1) for _, line in lines)]


def _json_names(path: Path) -> list[tuple[int, str]]:
    content = _json(path)
    if not isinstance(content, dict) or not all(NUMBER.fullmatch(str(number)) for number in content.values()):
        raise UsageError(path, 'not of the shape {"class name": "number"}', "give the data set's own label file")
    return [(int(number), name) for name, number in content.items()]


def _json(path: Path) -> Any:
    try:
        return parse_json(_text(path, JSON_LIMIT).encode())
    except ValueError as error:
        raise UsageError(path, f"not JSON ({error})", "copy the file again") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    # Not splitlines(): that breaks at characters which may stand in a name.
    text, start, number = _text(path), 0, 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        number += 1
        line = text[start:end].strip()
        if line:
            yield number, line
        start = end + 1


def _text(path: Path, limit: int = LIST_LIMIT) -> str:
    text = read_text(str(path), limit)
    if "\0" in text:
        raise UsageError(path, "not text", "save it as UTF-8")
    return text


def _names(folder: str | Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def _labels(entries: list[Entry]) -> set[int]:
    return {label for entry in entries for label in entry.labels}


def _told(odd: Odd) -> list[str]:
    return [f"{what}: {len(which)} (first: {which[0]})" for what, which in odd.items() if which]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


class Format(NamedTuple):
    """`classes`: how many are published. `numbered`: its lists name classes by index. `suffix`: of a missing video."""

    read: Callable[[Path, Split], Iterator[Row]]
    flips: bool
    classes: int = 0
    numbered: bool = False
    suffix: str = ""


FORMATS = {
    "folders": Format(_read_folders, flips=False),  # own classes may mean left and right
    "ucf101": Format(_read_list, flips=True, classes=101, numbered=True),
    "hmdb51": Format(_read_list, flips=True, classes=51, numbered=True),
    "ssv2": Format(_read_list, flips=False, classes=174, numbered=True),  # classes as "from left to right"
    "minikinetics": Format(_read_kinetics, flips=True, classes=200, suffix=".mp4"),
    "activitynet1.3": Format(_read_activitynet, flips=True, classes=200, suffix=".mp4"),
}
