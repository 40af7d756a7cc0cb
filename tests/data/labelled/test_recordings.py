"""Clips of one recording stay together: as the user names recordings, or as file names tell, and only where they do."""

from collections import Counter
from pathlib import Path

import pytest

from tlee.data.labelled.dividing import divide, shared_recordings
from tlee.data.labelled.listing import Entry, Listing
from tlee.data.labelled.recordings import given_recordings, guessed_recordings
from tlee.errors import UsageError

ROOT = Path("/data")
REAL = Path(__file__).parents[4] / "shared" / "real"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday")
KTH = ("boxing", "jogging", "walking")
WEIZMANN = ("bend", "wave1", "walk")
PEOPLE = ("daria", "denis", "eli", "ido", "ira", "lena")
SOURCES = ("April_09", "#20_Rhythm_(2)", "Kick_Ass", "50_FIRST_DATES", "prelinger_Home")


def listing(*names):
    """Clips `CLASS/NAME`."""
    classes = sorted({name.split("/")[0] for name in names})
    entries = [Entry(ROOT / name, (classes.index(name.split("/")[0]),)) for name in names]
    return Listing(entries, classes, False, ["an earlier note"], ROOT)


NAMED = {
    "UCF101": [f"{c}/v_{c}_g{g:02}_c{i:02}.avi" for c in ("Punch", "YoYo") for g in range(1, 8) for i in range(1, 5)],
    "KTH": [f"{c}/person{p:02}_{c}_d{d}_uncomp.avi" for c in KTH for p in range(1, 10) for d in range(1, 5)],
    "Weizmann": [f"{c}/{p}_{c}.avi" for c in WEIZMANN for p in PEOPLE],
    "HMDB51": [
        f"{c}/{s}_{c}_u_nm_np1_ba_goo_{i}.avi" for c in ("brush_hair", "kick") for s in SOURCES for i in range(3)
    ],
    "days": [f"{c}/{d}-{3 * i:03}.mp4" for c in ("jump", "run") for d in DAYS for i in range(6)],
    "people": [f"wz_{c}/wz-p{p}-{c}.avi" for c in WEIZMANN for p in range(1, 7)],
    "a telephone": [
        f"{c}/VID_2024050{d}_1{c[0] == 'r':d}{i}112.mp4" for c in ("jump", "run") for d in range(1, 6) for i in range(4)
    ],
    "sequences": [
        f"ut_{c}/ut-{s:02}-{7 * s + c}{x}_{s}_{c}.avi"
        for c in range(3)
        for s in range(1, 9)
        for x in ("", "b")[: 1 + (s == 3)]
    ],
}
FOUND = {
    "UCF101": (14, "Punch g01", 4),
    "KTH": (9, "person01", 12),
    "Weizmann": (6, "daria", 3),
    "HMDB51": (5, "april_09", 6),
    "days": (5, "monday", 12),
    "people": (6, "p1", 3),
    "a telephone": (5, "20240501", 8),
    "sequences": (8, "01", 3),
}
UNNAMED = {
    "counted clips": [f"{c}/{c}-{i:02}.mp4" for c in ("jump", "run") for i in range(20)],
    "counts alone": [f"{c}/{i}.mp4" for c in ("jump", "run") for i in range(20)],
    "clips by number": [f"{c}/clip{i}.mp4" for c in ("jump", "run") for i in range(20)],
    "numbers before the class": [f"{c}/{i:04}_{c}.mp4" for c in ("jump", "run") for i in range(20)],
    "levels behind a count": [f"{c}/{i:05}_{('easy', 'hard')[i % 2]}.mp4" for c in ("jump", "run") for i in range(20)],
    "levels": [f"{c}/{level}_{i:05}.mp4" for c in ("jump", "run") for level in ("easy", "hard") for i in range(20)],
    "numbers of a data set": [f"{c}/{7919 * i + k}.webm" for k, c in enumerate(("jump", "run")) for i in range(20)],
}


@pytest.mark.parametrize("kind", NAMED)
def test_recordings_are_guessed_where_names_tell_them(kind):
    found = guessed_recordings(listing(*NAMED[kind]))
    count, first, clips = FOUND[kind]
    assert found is not None and len(set(found.names)) == count
    assert found.names[0] == first and Counter(found.names)[first] == clips


def test_a_class_of_one_recording_does_not_hide_those_of_the_others():
    for kind, name in (("Weizmann", "swim/daria_swim.avi"), ("days", "swim/monday-111.mp4")):
        found = guessed_recordings(listing(*NAMED[kind], name))
        assert found is not None and found.names[-1] == found.names[0]


@pytest.mark.parametrize("kind", UNNAMED)
def test_nothing_is_guessed_where_names_may_only_count_clips(kind):
    clips = listing(*UNNAMED[kind])
    assert guessed_recordings(clips) is None
    train, val = divide(clips, 0.2, seed=0)
    assert len(val.entries) == len(clips.entries) // 5
    assert train.notes[-1].startswith(
        "clips are held out one by one, for their names tell no recordings: with clips of"
    )
    assert "name recordings with data.group" in train.notes[-1] and val.notes == []


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
def test_recordings_of_real_clips_are_those_that_their_names_state():
    clips = listing(*(f"{path.parent.name}/{path.name}" for path in sorted(REAL.glob("*/*/*.avi"))))
    found = guessed_recordings(clips)
    stated = []
    for entry in clips.entries:
        parts = entry.path.stem.split("-")
        stated.append("-".join(parts[:3]) if parts[0] == "ucf" else parts[1])  # UCF101 counts within a class
    assert found is not None and len({*zip(stated, found.names)}) == len(set(stated)) == len(set(found.names))


@pytest.mark.parametrize("kind", NAMED)
def test_no_recording_is_on_both_sides_and_classes_keep_their_share(kind):
    clips = listing(*NAMED[kind])
    names = dict(zip([entry.path for entry in clips.entries], guessed_recordings(clips).names))
    for seed in range(5):
        train, val = divide(clips, 0.3, seed)
        assert sorted(train.entries + val.entries, key=clips.entries.index) == clips.entries
        assert not {names[entry.path] for entry in train.entries} & {names[entry.path] for entry in val.entries}
        total, held = (Counter(entry.labels[0] for entry in part.entries) for part in (clips, val))
        assert all(0.15 < held[label] / total[label] < 0.45 for label in total)


def test_the_seed_draws_which_recordings():
    clips = listing(*NAMED["days"])
    parts = [divide(clips, 0.2, seed)[1].entries for seed in (0, 0, 1, 2, 3)]
    assert parts[0] == parts[1] and any(part != parts[0] for part in parts)


def test_a_guess_is_said_in_one_line_with_an_example():
    train, val = divide(listing(*NAMED["days"]), 0.2, seed=0)
    assert train.notes == [
        "an earlier note",
        "1 of 5 recordings are held out, 20% of the clips; recordings are guessed from file names, by what comes first "
        "in them, as 'monday' of jump/monday-000.mp4 and 11 others; if that is wrong, name them with data.group",
    ]
    assert val.notes == []


CLIPS = ["jump/a1.mp4", "jump/a2.mp4", "jump/b1.mp4", "run/a3.mp4", "run/b2.mp4", "run/c1.mp4"]


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("/([a-z])", list("aabab") + ["c"]),
        ("/[a-z]", ["/a", "/a", "/b", "/a", "/b", "/c"]),
        (r"(\w+/[a-z])", ["jump/a", "jump/a", "jump/b", "run/a", "run/b", "run/c"]),
        (".+", CLIPS),
    ],
)
def test_a_regular_expression_names_recordings_by_its_first_group_or_its_match(group, names):
    assert given_recordings(listing(*CLIPS), group) == names


def test_a_file_names_recordings(tmp_path):
    lines = ["jump/a1.mp4 first day", "jump/a2 day", "", "jump/b1.mp4\tother", *(f"{name} day" for name in CLIPS[3:])]
    file = tmp_path / "recordings.txt"
    file.write_text("\n".join(["jump/a1.mp4 day", *lines[1:], "unused.mp4 day"]))
    assert given_recordings(listing(*CLIPS), str(file)) == ["day", "day", "other", "day", "day", "day"]
    train, _ = divide(listing(*CLIPS), 0.5, 0, r"/([a-z])")
    assert train.notes[1].endswith("recordings are as data.group says")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("jump/a1.mp4 x\njump/a2.mp4 x\n", "jump/b1.mp4: has no line in .*txt; add one"),
        ("jump/a1.mp4 x\njump/a1.mp4 y\n", "txt: line 2: 'jump/a1.mp4' has another recording in an earlier line"),
        ("jump/a1.mp4\n", "txt: line 1 is not 'path recording'"),
    ],
)
def test_a_file_that_does_not_name_every_recording_once_is_refused(tmp_path, lines, problem):
    (tmp_path / "recordings.txt").write_text(lines)
    with pytest.raises(UsageError, match=problem):
        given_recordings(listing(*CLIPS), str(tmp_path / "recordings.txt"))


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        (
            "/(a)",
            "jump/b1.mp4: data.group '/\\(a\\)' finds no recording in this path, and there is no file of that name",
        ),
        ("c*", "jump/a1.mp4: data.group .* finds no recording"),
        ("(", "data.group: '\\(' is neither a file nor a regular expression"),
    ],
)
def test_an_expression_that_does_not_name_every_recording_is_refused(group, problem):
    with pytest.raises(UsageError, match=problem):
        given_recordings(listing(*CLIPS), group)


def test_a_class_of_one_recording_stays_in_training_and_is_told():
    clips = listing(*CLIPS, "swim/d1.mp4", "swim/d2.mp4")
    for seed in range(5):
        train, val = divide(clips, 0.3, seed, "/([a-z])")
        assert {entry.path.parent.name for entry in val.entries} == {"jump", "run"}
        told = "classes with too few recordings to give one to validation: 1 (first: 'swim')"
        assert train.notes[-1] == told


def test_every_class_has_its_clips_of_several_labels_on_both_sides():
    entries = [Entry(ROOT / f"{r}{i}.mp4", (r % 3, 3) if i else (r % 3,)) for r in range(9) for i in range(2)]
    clips = Listing(entries, list("abcd"), False, [], ROOT)
    train, val = divide(clips, 0.3, 1, "^([0-9])[0-9]")
    for part in (train, val):
        assert {label for entry in part.entries for label in entry.labels} == {0, 1, 2, 3}


def test_where_each_recording_is_the_only_one_of_a_class_nothing_can_be_held_out():
    with pytest.raises(UsageError, match="each recording is the only one of some class; add recordings"):
        divide(listing("jump/a1.mp4", "jump/a2.mp4", "run/b1.mp4"), 0.5, 0, "/([a-z])")


def test_recordings_in_both_of_two_listings_are_found():
    assert shared_recordings(listing(*CLIPS[:3]), listing(*CLIPS[3:]), "/([a-z])") == ["a", "b"]
