"""The lists of UCF101's and HMDB51's splits as their authors publish them, without numbers of frames.

UCF101: `trainlist01.txt` has `Class/name.avi number` a line, numbered from 1 as in `classInd.txt`; `testlist01.txt` has
`Class/name.avi` alone. HMDB51: a folder with `CLASS_test_splitN.txt` for each class and split, in it `name.avi` and 0
(unused), 1 (train) or 2 (test) a line; the source is that folder and the split, `FOLDER/splitN`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tlee.data.labelled.class_names import numbered_lines, plain_text, shortened
from tlee.data.labelled.rows import LIST_LIMIT, Row, Split
from tlee.data.video import VIDEOS
from tlee.errors import UsageError

CLASS_FILE = "classInd.txt"  # UCF101's, with the numbers of its classes
UCF101_LINE = re.compile(rf"(.*({'|'.join(map(re.escape, VIDEOS))}))(\s+([0-9]{{1,9}}))?", re.IGNORECASE)
HMDB51_FILE = re.compile(r"(.+)_test_split([0-9]{1,3})\.txt")
HMDB51_SOURCE = re.compile(r"split([0-9]{1,3})")
HMDB51_USES = {"0": None, "1": "train", "2": "val"}


def is_ucf101_split(source: Path) -> bool:
    """Whether a list is one as published, by its first line. Raises UsageError where it cannot be read."""
    first = next(numbered_lines(plain_text(source, LIST_LIMIT)), None)
    return first is not None and UCF101_LINE.fullmatch(first[1]) is not None


def ucf101_rows(source: Path) -> Iterator[Row]:
    """The videos of `trainlist01.txt` or `testlist01.txt`, labelled by number, or by folder where there is none."""
    for number, line in numbered_lines(plain_text(source, LIST_LIMIT)):
        found = UCF101_LINE.fullmatch(line)
        folder = PurePosixPath(found[1]).parent.name if found else ""
        if found is None or not (found[4] or folder):
            problem = f"line {number} is not 'Class/name.avi number' or 'Class/name.avi': {shortened(line)}"
            raise UsageError(source, problem, "give one of UCF101's lists as it was published")
        if found[4] and int(found[4]) == 0:
            raise UsageError(source, f"line {number} has class 0", "these lists count classes from 1")
        label: str | int = int(found[4]) - 1 if found[4] else folder
        yield Row(f"line {number}", _places(found[1]), (label,))


def hmdb51_split(source: Path) -> str | None:
    """The number of the split that a source `FOLDER/splitN` means; None where it is none of these.

    Raises:
        UsageError: the source is the folder of the splits alone, or one of its files.
    """
    means = HMDB51_SOURCE.fullmatch(source.name)
    if means and source.parent.is_dir() and not source.exists():
        return means[1]
    splits = sorted({file[2] for file in _hmdb51_files(source)}) if source.is_dir() else []
    if splits:
        problem = f"holds the splits {', '.join(splits)}"
        raise UsageError(source, problem, f"say which: {source / f'split{splits[0]}'}")
    file = HMDB51_FILE.fullmatch(source.name)
    if file and source.is_file():
        remedy = f"give the folder and the split: {source.parent / f'split{file[2]}'}"
        raise UsageError(source, "one of a split's files, for a single class", remedy)
    return None


def hmdb51_rows(source: Path, split: Split) -> Iterator[Row]:
    """The videos of `FOLDER/splitN`, labelled by class; those of the other part and unused ones are not wanted."""
    number, files = hmdb51_split(source), _hmdb51_files(source.parent)
    splits = sorted({file[2] for file in files})
    if number not in splits:
        remedy = f"choose of the splits {', '.join(splits)}" if splits else "give the folder of HMDB51's splits"
        raise UsageError(source, f"no files CLASS_test_split{number}.txt in {source.parent}", remedy)
    for file in (file for file in files if file[2] == number):
        path, label = source.parent / file[0], file[1]
        for line_number, line in numbered_lines(plain_text(path, LIST_LIMIT)):
            name, _, use = line.rpartition(" ")
            if not name.strip() or use not in HMDB51_USES:
                problem = f"line {line_number} is not 'name.avi 0', 1 or 2: {shortened(line)}"
                raise UsageError(path, problem, "give HMDB51's files as they were published")
            where = f"{file[0]}, line {line_number}"
            yield Row(where, _places(f"{label}/{name.strip()}"), (label,), HMDB51_USES[use] == split)


def _hmdb51_files(folder: Path) -> list[re.Match[str]]:
    """The files of a folder's splits, matched by `HMDB51_FILE`."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UsageError(folder, f"cannot be read ({error.strerror})", "make the folder readable") from None
    return [file for file in map(HMDB51_FILE.fullmatch, names) if file]


def _places(path: str) -> tuple[str, ...]:
    """Where `Class/name.avi` may lie: there, or its pictures in `Class/name`, and both without the class's folder."""
    name = path.rpartition("/")[2]
    return tuple(dict.fromkeys(each for one in (path, name) for each in (one, os.path.splitext(one)[0])))
