"""What is chosen by and what is reported on are never the same videos, and say enough."""

from collections import Counter
from pathlib import Path

import pytest

from tlee.calibration.videos import MIN_VIDEOS, VideoReader, divide
from tlee.data.labelled.listing import Entry, Listing
from tlee.errors import UsageError
from tlee.frames import FrameSpec

CLASSES = ["jump", "run", "walk"]
SPEC = FrameSpec(2, [0, 1], 32, 32)


def listing(*counts, folder="videos", classes=CLASSES):
    """So many videos of each class, in turn."""
    entries = [Entry(Path(folder, f"{c}-{i}.mp4"), (c,)) for c, count in enumerate(counts) for i in range(count)]
    return Listing(entries, classes, flips=False, notes=[])


def parted(videos, held_out=None, **options):
    return divide(videos, held_out, CLASSES, "small.tlee", **options)


def labels(part):
    return Counter(label for entry in part.entries for label in entry.labels)


def test_every_video_is_in_one_part_and_classes_keep_their_share():
    videos = listing(30, 20, 50)
    parts = parted(videos, share=0.4)
    assert sorted(parts.tuning.entries + parts.held_out.entries, key=videos.entries.index) == videos.entries
    assert labels(parts.held_out) == {0: 12, 1: 8, 2: 20} and labels(parts.tuning) == {0: 18, 1: 12, 2: 30}


def test_the_seed_draws_which():
    videos = listing(30, 20, 50)
    assert parted(videos) == parted(videos, seed=0) != parted(videos, seed=1)


def test_a_list_of_its_own_is_held_out_whole():
    videos, others = listing(10, 10, 10), listing(9, 9, 9, folder="others")
    parts = parted(videos, others, share=0.9, seed=3)
    assert parts.tuning.entries == videos.entries and parts.held_out.entries == others.entries


def test_classes_are_numbered_as_the_models():
    parts = parted(listing(20, 20, 20), listing(20, 20, 20, folder="others", classes=["walk", "jump", "run"]))
    assert parts.held_out.classes == parts.tuning.classes == CLASSES
    assert {entry.path.name[0]: entry.labels for entry in parts.held_out.entries} == {"0": (2,), "1": (0,), "2": (1,)}
    with pytest.raises(UsageError, match="no class 'swim' as the videos have"):
        parted(listing(20, 20, 20, classes=["jump", "run", "swim"]))


@pytest.mark.parametrize("other", ["videos/2-7.mp4", "videos/../videos/2-7.mp4", "link/2-7.mp4"])
def test_a_video_in_both_lists_is_named(other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    Path("link").symlink_to("videos")
    held_out = listing(10, 10, 10, folder="others")
    held_out.entries[5] = Entry(Path(other), (2,))
    with pytest.raises(UsageError, match=f"^{other}: is among the videos to choose by and those to report on; hold"):
        parted(listing(10, 10, 10), held_out)


def test_one_file_under_two_names_of_one_list_may_not_be_parted(tmp_path):
    videos = listing(20, 20, 20, folder=tmp_path)
    parts = parted(videos)
    parts.tuning.entries[0].path.write_bytes(b"")
    parts.held_out.entries[0].path.symlink_to(parts.tuning.entries[0].path)
    with pytest.raises(UsageError, match="is among the videos to choose by and those to report on"):
        parted(videos)


def test_each_part_needs_twenty_videos():
    enough, short = listing(7, 7, 6), listing(7, 6, 6, folder="others")
    assert MIN_VIDEOS == len(enough.entries) == len(short.entries) + 1
    parted(enough, listing(7, 7, 6, folder="others"))
    with pytest.raises(UsageError, match="^held-out videos: 19, at least 20 are needed; give more"):
        parted(enough, short)
    with pytest.raises(UsageError, match="^tuning videos: 19, at least 20 are needed; give more"):
        parted(short, enough)


def test_a_share_that_leaves_twenty_each_is_enough():
    assert [len(part.entries) for part in parted(listing(14, 14, 12))] == [20, 20]
    with pytest.raises(UsageError, match="videos: 19, at least 20"):
        parted(listing(14, 14, 11))


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_is_between_none_and_all(share):
    with pytest.raises(UsageError, match="is not between 0 and 1"):
        parted(listing(30, 30, 30), share=share)


def test_each_part_needs_every_class():
    with pytest.raises(UsageError, match="^tuning videos: none of class 'run'; give more videos"):
        parted(listing(20, 0, 20), listing(20, 20, 20, folder="others"))
    with pytest.raises(UsageError, match="^held-out videos: none of class 'walk'; give more videos"):
        parted(listing(20, 20, 20), listing(20, 20, 0, folder="others"))
    with pytest.raises(UsageError, match="^held-out videos: none of class 'walk'"):  # its one video stays for tuning
        parted(listing(30, 30, 1))


def test_a_second_label_is_a_class_too():
    videos = listing(20, 20, 0)
    videos.entries[:3] = [Entry(entry.path, (0, 2)) for entry in videos.entries[:3]]
    assert labels(parted(videos, listing(9, 9, 9, folder="others")).tuning)[2] == 3


@pytest.fixture
def reader():
    return VideoReader(SPEC)


def of(*paths):
    return Listing([Entry(Path(path), (0,)) for path in paths], CLASSES, flips=False, notes=[])


def test_the_same_frames_under_another_name_are_left_out_and_counted(reader, bars, tmp_path):
    copy, own = tmp_path / "copy.mp4", bars[40]
    copy.write_bytes(bars[1].read_bytes())
    tuned = list(reader.tuning(of(*bars[:3]), "recording"))
    held = list(reader.held_out(of(own, copy, bars[2]), "verifying"))
    assert [entry.path for entry, _ in tuned] == bars[:3] and [entry.path for entry, _ in held] == [own]
    assert reader.repeated == {copy, bars[2]} and reader.unreadable == {}
    assert tuned[0][1].shape == (2, 32, 32, 3) and tuned[0][1].dtype == "uint8"


def test_reading_again_gives_the_same_and_repeats_nothing(reader, bars):
    first, again = (list(reader.tuning(of(*bars[:3]), "recording")) for _ in range(2))
    assert all(a[0] == b[0] and (a[1] == b[1]).all() for a, b in zip(first, again)) and not reader.repeated


def test_what_cannot_be_read_is_left_out_with_its_reason(reader, bars, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert [e.path for e, _ in reader.tuning(of(broken, bars[0]), "recording")] == [bars[0]]
    assert list(reader.held_out(of(broken, tmp_path / "none.mp4"), "verifying")) == []
    assert set(reader.unreadable) == {broken, tmp_path / "none.mp4"} and not reader.repeated
    assert "not a video" in str(reader.unreadable[broken])
