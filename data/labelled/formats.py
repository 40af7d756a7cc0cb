"""The formats of lists: those of public data sets as published, and folders of clips, with a reader of rows for each.

Reads lists and names only; no video is opened.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tlee.data.labelled.class_names import NUMBER, json_value, numbered_lines, plain_text, shortened
from tlee.data.labelled.official_splits import CLASS_FILE, hmdb51_rows, hmdb51_split, is_ucf101_split, ucf101_rows
from tlee.data.labelled.rows import LIST_LIMIT, Row, Split
from tlee.data.video import VIDEOS
from tlee.errors import UsageError
from tlee.reading import JSON_LIMIT

SECONDS = re.compile(r"([0-9]{1,6})(\.0*)?")
COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "val"}
SUBSETS = {"training": "train", "validation": "val"}
FOLDERS = "a folder with one subfolder of clips per class"


class Format(NamedTuple):
    """How one kind of list is read."""

    rows: Callable[[Path, Split], Iterator[Row]]  # reads a source's rows for a split
    flips: bool  # whether a mirrored video keeps its class
    classes: int = 0  # number of classes published; 0 where it varies
    class_file: str = ""  # beside a list without numbers of frames: the numbers of the classes that it names
    suffix: str = ""  # file suffix expected of a missing video


def visible_names(folder: str | Path) -> list[str]:
    """Sorted names in a folder, hidden ones left out. Raises OSError."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def ignored_files(source: Path) -> list[str]:
    """Files that `folders` does not read: video files outside the class folders, other files than videos in them."""
    found = [name for name in visible_names(source) if name.lower().endswith(VIDEOS) and not (source / name).is_dir()]
    for label in (name for name in visible_names(source) if (source / name).is_dir()):
        others = (name for name in visible_names(source / label) if not name.lower().endswith(VIDEOS))
        found += [f"{label}/{name}" for name in others if not (source / label / name).is_dir()]
    return found


def _folder_rows(source: Path, split: Split) -> Iterator[Row]:
    try:
        for label in (name for name in visible_names(source) if (source / name).is_dir()):
            yield Row(label, (), (label,), wanted=False)  # an empty folder is a class too
            for name in visible_names(source / label):
                if name.lower().endswith(VIDEOS) or (source / label / name).is_dir():
                    yield Row(f"{label}/{name}", (f"{label}/{name}",), (label,))
    except OSError as error:
        raise UsageError(error.filename, f"no clips here ({error.strerror})", f"give {FOLDERS}") from None


def _text_rows(source: Path, split: Split) -> Iterator[Row]:
    """Lists of the TSN and TSM projects: `path num_frames label` a line; a path may contain spaces."""
    for number, line in numbered_lines(plain_text(source, LIST_LIMIT)):
        fields = line.rsplit(maxsplit=2)
        if len(fields) != 3 or not all(NUMBER.fullmatch(field) for field in fields[1:]):
            problem = f"line {number} is not 'path num_frames label': {shortened(line)}"
            raise UsageError(source, problem, "give a list of this form, with labels from 0")
        yield Row(f"line {number}", (fields[0],), (int(fields[2]),), frames=int(fields[1]))


def _ucf101_rows(source: Path, split: Split) -> Iterator[Row]:
    return ucf101_rows(source) if is_ucf101_split(source) else _text_rows(source, split)


def _hmdb51_rows(source: Path, split: Split) -> Iterator[Row]:
    return hmdb51_rows(source, split) if hmdb51_split(source) else _text_rows(source, split)


def _kinetics_rows(source: Path, split: Split) -> Iterator[Row]:
    rows = list(_csv_rows(source))
    several = len({SPLITS.get(row["split"].lower(), row["split"]) for _, row in rows}) > 1
    for number, row in rows:
        if several and row["split"].lower() not in SPLITS:
            problem = f"line {number}: split '{shortened(row['split'])}' is not known"
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
    reader = csv.reader(io.StringIO(plain_text(source, LIST_LIMIT)), strict=True)
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


def _activitynet_rows(source: Path, split: Split) -> Iterator[Row]:
    """The official JSON. The whole video is one example of every class annotated in it."""
    content = json_value(source, plain_text(source, JSON_LIMIT))
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


FORMATS = {
    "folders": Format(_folder_rows, flips=False),  # own classes may mean left and right
    "ucf101": Format(_ucf101_rows, flips=True, classes=101, class_file=CLASS_FILE),
    "hmdb51": Format(_hmdb51_rows, flips=True, classes=51),
    "ssv2": Format(_text_rows, flips=False, classes=174),  # classes as "from left to right"
    "minikinetics": Format(_kinetics_rows, flips=True, classes=200, suffix=".mp4"),
    "activitynet1.3": Format(_activitynet_rows, flips=True, classes=200, suffix=".mp4"),
}
