"""Which clips were cut from one recording: as the user says, or as the names of their files tell.

A guess errs on the side of few recordings with many clips each: clips wrongly kept together leave less choice of what
to hold out, clips wrongly parted make results too good.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tlee.data.labelled.class_names import numbered_lines, plain_text, shortened
from tlee.data.labelled.listing import Listing
from tlee.data.labelled.rows import LIST_LIMIT
from tlee.data.video import VIDEOS
from tlee.errors import UsageError

SEPARATORS = re.compile(r"[-_. /]+")
UCF101_GROUP = re.compile(r"[-_](g[0-9]+)[-_]c[0-9]+$", re.IGNORECASE)
PERSON = re.compile(
    r"(?:^|[-_. /])((?:person|subject|actor|participant|signer|user)[-_ ]?[0-9]+)(?![^-_. /])", re.IGNORECASE
)
# A number may merely count clips; behind one of these words, or in a word of another form, it does not.
COUNTED = re.compile(r"[a-z]*[0-9]+", re.IGNORECASE)
NAMED = re.compile(r"(p|s|subj|sub|rec|recording|session|day|scene|seq|room|cam)[0-9]+", re.IGNORECASE)
MIN_RECORDINGS = 4  # unless a name says what it counts: a field of fewer values, as "easy" and "hard", may be anything
MIN_CLIPS = 1.5  # of a recording, on average
MOST = 0.9  # of a class's clips have to have its name in theirs


class Recordings(NamedTuple):
    """The recordings that clips are from."""

    names: list[str]  # one for each clip
    rule: str  # how they were found


class Clips(NamedTuple):
    """What a guess goes by: of each clip its path below the data's folder, without a video's suffix, and its class."""

    stems: list[str]
    classes: list[str]


def clip_names(listing: Listing) -> list[str]:
    """The path of each clip, relative to the folder of the data where it lies in there."""
    root = None if listing.root is None else os.path.join(listing.root, "")
    paths = [str(entry.path) for entry in listing.entries]
    return [path[len(root) :] if root and path.startswith(root) else path for path in paths]


def given_recordings(listing: Listing, group: str) -> list[str]:
    """The recording of each clip.

    Args:
        group: a file with a line `path recording` for each clip, or a regular expression that finds the recording in a
            clip's path: its first group, or else all that it matches.

    Raises:
        UsageError: `group` is neither, or names no recording for one of the clips.
    """
    names = clip_names(listing)
    if os.path.isfile(group):
        listed = _listed(group)
        found = [listed.get(name) or listed.get(_stem(name)) for name in names]
        problem, remedy = f"has no line in {group}", "add one, 'path recording', with the path as it stands here"
    else:
        try:
            pattern = re.compile(group)
        except (re.error, OverflowError, RecursionError) as error:
            problem = f"'{shortened(group)}' is neither a file nor a regular expression ({error})"
            raise UsageError("data.group", problem, "correct it, or the path") from None
        matches = [pattern.search(name) for name in names]
        found = [match and match[min(1, pattern.groups)] for match in matches]
        problem = f"data.group '{shortened(group)}' finds no recording in this path, and there is no file of that name"
        remedy = "give a regular expression that does, or a file with lines 'path recording'"
    recordings = []
    for name, recording in zip(names, found):
        if not recording:
            raise UsageError(name, problem, remedy)
        recordings.append(recording)
    return recordings


def guessed_recordings(listing: Listing) -> Recordings | None:
    """The recording of each clip, as the names of files tell; None where they do not, or not convincingly."""
    labels = ["+".join(listing.classes[label] for label in entry.labels) for entry in listing.entries]
    clips = Clips([_stem(name) for name in clip_names(listing)], labels)
    found: dict[int, str] = {}
    rules = []
    of_class = defaultdict(list)
    for i, label in enumerate(labels):
        of_class[label].append(i)
    for members in of_class.values():
        for rule, find in RULES.items():
            recordings = find(clips, members)
            if recordings:
                found.update(zip(members, recordings))
                rules.append(rule)
                break
    named = _by_class_name(clips, [i for i in range(len(labels)) if i not in found])
    if named:
        found.update(named)
        rules.append("what stands before the class's name in them")
    lengths = defaultdict(list)
    for i in (i for i in range(len(labels)) if i not in found):
        lengths[len(SEPARATORS.split(clips.stems[i]))].append(i)
    for members in lengths.values():
        recordings = _by_first_fields(clips, members)
        if recordings is None:
            return None
        found.update(zip(members, recordings))
        rules.append("what comes first in them")
    names = [found[i] for i in range(len(labels))]
    convincing = len(set(names)) > 1 and len(names) >= MIN_CLIPS * len(set(names))
    return Recordings(names, ", ".join(dict.fromkeys(rules))) if convincing else None


def _by_ucf101_group(clips: Clips, members: list[int]) -> list[str] | None:
    """`v_Punch_g04_c02`: UCF101 counts groups within a class."""
    found = [UCF101_GROUP.search(clips.stems[i]) for i in members]
    return [f"{clips.classes[members[0]]} {match[1]}" for match in found if match] if all(found) else None


def _by_person(clips: Clips, members: list[int]) -> list[str] | None:
    """`person01_walking_d1`, as in KTH."""
    found = [PERSON.search(clips.stems[i]) for i in members]
    return [match[1].lower() for match in found if match] if all(found) else None


RULES = {
    "groups g01, g02 ... of a class as in UCF101": _by_ucf101_group,
    "the person's number in them": _by_person,
}


def _by_class_name(clips: Clips, members: list[int]) -> dict[int, str]:
    """What stands before the class's name: `daria_walk`, or `April_09_brush_hair_u_nm_np1_ba_goo_0` of HMDB51. Only of
    classes of which most clips have that, and if it is no mere count; a clip without it is a recording of its own."""
    before: dict[str, dict[int, str]] = defaultdict(dict)
    for i in members:
        name = "_" + _plain(clips.stems[i].rpartition("/")[2]) + "_"
        before[clips.classes[i]][i] = name.rpartition(f"_{_plain(clips.classes[i])}_")[0].strip("_")
    found = {}
    for each in before.values():
        if sum(map(bool, each.values())) >= MOST * len(each):
            found.update({i: recording or clips.stems[i] for i, recording in each.items()})
    within = {(clips.classes[i], recording) for i, recording in found.items()}
    distinct = set(found.values())
    credible = len(found) >= MIN_CLIPS * len(within) or _are_words(distinct)
    return found if credible and len(distinct) >= MIN_RECORDINGS else {}


def _by_first_fields(clips: Clips, members: list[int]) -> list[str] | None:
    """What comes first, apart from fields that do not vary within a class: `monday-012`, `p3_walk`. All clips of
    `members` have equally many fields."""
    fields = [SEPARATORS.split(clips.stems[i]) for i in members]
    varying = [place for place in range(len(fields[0])) if _varies(clips, members, [row[place] for row in fields])]
    for count in range(1, len(varying) + 1):
        recordings = ["-".join(row[place] for place in varying[:count]) for row in fields]
        distinct = len(set(recordings))
        if distinct < MIN_RECORDINGS or len(members) < MIN_CLIPS * distinct:
            continue
        within = Counter((clips.classes[i], recording) for i, recording in zip(members, recordings))
        # The last field may be a mere count of clips. So may one that no class has twice.
        counts = count == len(varying) or max(within.values()) == 1
        if not counts or count == 1 and _are_words({row[varying[count - 1]] for row in fields}):
            return recordings
    return None


def _varies(clips: Clips, members: list[int], values: Sequence[str]) -> bool:
    """Whether a field tells clips of one class apart."""
    of_class: dict[str, str] = {}
    return any(of_class.setdefault(clips.classes[i], value) != value for i, value in zip(members, values))


def _are_words(values: Iterable[str]) -> bool:
    """Whether these are names, rather than a count of clips."""
    return all(NAMED.fullmatch(value) or not COUNTED.fullmatch(value) for value in values)


def _plain(name: str) -> str:
    return SEPARATORS.sub("_", name.lower())


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEOS else name


def _listed(file: str) -> dict[str, str]:
    """The recordings in a file, by path."""
    listed: dict[str, str] = {}
    for number, line in numbered_lines(plain_text(Path(file), LIST_LIMIT)):
        path, _, recording = line.replace("\t", " ").rpartition(" ")
        if not path.strip():
            raise UsageError(file, f"line {number} is not 'path recording': {shortened(line)}", "correct the line")
        if listed.setdefault(path.strip(), recording) != recording:
            problem = f"line {number}: '{shortened(path)}' has another recording in an earlier line"
            raise UsageError(file, problem, "remove the wrong one")
    return listed
