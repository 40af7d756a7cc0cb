"""The split files of UCF101 and HMDB51 are read as their authors publish them."""

import argparse
import os

import pytest

from tlee.data.labelled.listing import read_listing
from tlee.errors import UsageError
from tlee.evaluation.arguments import add_data_arguments, listing_of

CLASSES = ["ApplyEyeMakeup", "Archery", "BabyCrawling"]
TRAIN = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nBabyCrawling/v_BabyCrawling_g09_c02.avi 3\r\n"
TEST = "Archery/v_Archery_g01_c01.avi\nApplyEyeMakeup/v_ApplyEyeMakeup_g01_c02.avi\n"
KISS = "A_Kiss_kiss_h_cm_np2_fr_goo_0.avi 1 \nOld_(2)_kiss_u_cm_np2_ri_med_1.avi 2 \nB_kiss_u_nm_np1_ba_bad_0.avi 0 \n"
WAVE = "#20_Beach_wave_f_cm_np1_ba_med_0.avi 2 \nParade_wave_f_cm_np1_ba_med_0.avi 1 \n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def ucf101(tmp_path):
    """The lists and, in folders of their classes, what they name."""
    for line in (TRAIN + TEST).split("\n")[:-1]:
        write(tmp_path / "UCF-101" / line.split()[0], "a video")
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "".join(f"{i} {name}\r\n" for i, name in enumerate(CLASSES, 1)))
    write(lists / "trainlist01.txt", TRAIN)
    write(lists / "testlist01.txt", TEST)
    return lists


@pytest.fixture
def hmdb51(tmp_path):
    splits = tmp_path / "testTrainMulti_7030_splits"
    for name, text in (("kiss", KISS), ("wave", WAVE)):
        write(splits / f"{name}_test_split1.txt", text)
        write(splits / f"{name}_test_split2.txt", text.replace("1 \n", "0 \n"))
        for line in text.splitlines():
            write(tmp_path / "hmdb51_org" / name / line.split()[0], "a video")
    return splits


def named(listing):
    return [(entry.path.name, listing.classes[entry.labels[0]]) for entry in listing.entries]


def read_ucf101(lists, name, **options):
    return read_listing("ucf101", lists / name, lists.parent / "UCF-101", **options)


def test_ucf101s_lists_count_classes_from_one_and_are_named_by_the_file_beside_them(ucf101):
    train, test = (read_ucf101(ucf101, name) for name in ("trainlist01.txt", "testlist01.txt"))
    assert train.classes == test.classes == CLASSES
    assert named(train) == [("v_ApplyEyeMakeup_g08_c01.avi", CLASSES[0]), ("v_BabyCrawling_g09_c02.avi", CLASSES[2])]
    assert named(test) == [("v_Archery_g01_c01.avi", CLASSES[1]), ("v_ApplyEyeMakeup_g01_c02.avi", CLASSES[0])]
    assert train.notes == ["classes without videos: 1 (first: 'Archery')"]
    assert all(entry.path.is_file() for entry in train.entries + test.entries)


def test_the_numbers_of_ucf101s_classes_may_be_given(ucf101):
    labels = (ucf101 / "classInd.txt").rename(ucf101.parent / "classes.txt")
    assert named(read_ucf101(ucf101, "testlist01.txt", labels=labels))[0] == ("v_Archery_g01_c01.avi", "Archery")
    assert read_ucf101(ucf101, "trainlist01.txt").classes[2] == "class 2"  # as the published list without names
    with pytest.raises(
        UsageError, match=r"testlist01.txt: names its classes, whose numbers stand in classInd.txt; put"
    ):
        read_ucf101(ucf101, "testlist01.txt")


def test_a_class_that_the_class_file_lacks_is_named(ucf101):
    write(ucf101 / "classInd.txt", "1 ApplyEyeMakeup\n2 Juggling\n")
    with pytest.raises(UsageError, match=r"line 1: label 'Archery' is none of the 2 classes of .*classInd.txt"):
        read_ucf101(ucf101, "testlist01.txt")
    with pytest.raises(UsageError, match=r"line 2: label '2' is none of the 2 classes of .*classInd.txt"):
        read_ucf101(ucf101, "trainlist01.txt")


@pytest.mark.parametrize("place", ["{0}/{1}.avi", "{1}.avi", "{0}/{1}/img_00001.jpg", "{1}/img_00001.jpg", "{1}.mp4"])
def test_videos_lie_in_folders_of_classes_or_in_one_and_may_be_pictures(tmp_path, place):
    write(tmp_path / place.format("Archery", "v_Archery_g01_c01"), "a video")
    write(tmp_path / "classInd.txt", "1 Archery\n")
    listing = read_listing("ucf101", write(tmp_path / "testlist01.txt", "Archery/v_Archery_g01_c01.avi\n"))
    assert listing.entries[0].path.exists() and not any("not there" in note for note in listing.notes)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("Archery/v_Archery_g01_c01.avi 0", "line 2 has class 0; these lists count classes from 1"),
        ("Archery/v_Archery_g01_c01.avi two", "line 2 is not 'Class/name.avi number' or 'Class/name.avi': Archery"),
        ("v_Archery_g01_c01.avi", "line 2 is not 'Class/name.avi number' or 'Class/name.avi'"),
        ("Archery/v_Archery_g01_c01 30 2", "line 2 is not 'Class/name.avi number' or 'Class/name.avi'"),
        ("Archery/v_Archery_g01_c01.avi 4", "line 2: label '3' is none of the 3 classes"),
    ],
)
def test_a_line_that_cannot_be_is_named(ucf101, line, problem):
    write(ucf101 / "trainlist01.txt", f"ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\n{line}\n")
    with pytest.raises(UsageError, match=problem):
        read_ucf101(ucf101, "trainlist01.txt")


def test_a_split_of_hmdb51_is_its_folder_and_number(hmdb51):
    root = hmdb51.parent / "hmdb51_org"
    train, test = (read_listing("hmdb51", hmdb51 / "split1", root, split=split) for split in ("train", "val"))
    assert train.classes == test.classes == ["kiss", "wave"]
    assert named(train) == [
        ("A_Kiss_kiss_h_cm_np2_fr_goo_0.avi", "kiss"),
        ("Parade_wave_f_cm_np1_ba_med_0.avi", "wave"),
    ]
    assert [os.path.relpath(entry.path, root) for entry in test.entries] == [
        "kiss/Old_(2)_kiss_u_cm_np2_ri_med_1.avi",
        "wave/#20_Beach_wave_f_cm_np1_ba_med_0.avi",
    ]
    assert train.notes == ["classes, where 51 are published: 1 (first: 2)"]


def test_which_split_of_hmdb51_has_to_be_said(hmdb51):
    with pytest.raises(UsageError, match=f"{hmdb51}: holds the splits 1, 2; say which: {hmdb51}/split1"):
        read_listing("hmdb51", hmdb51)
    with pytest.raises(UsageError, match="split3: no files CLASS_test_split3.txt in .*; choose of the splits 1, 2"):
        read_listing("hmdb51", hmdb51 / "split3")
    with pytest.raises(UsageError, match="for a single class; give the folder and the split: .*splits/split2"):
        read_listing("hmdb51", hmdb51 / "kiss_test_split2.txt")
    with pytest.raises(UsageError, match="no clips here for train"):
        read_listing("hmdb51", hmdb51 / "split2")


@pytest.mark.parametrize("line", ["a_kiss.avi", "a_kiss.avi 3", "a_kiss.avi 1.0", " 1"])
def test_a_line_of_hmdb51_that_cannot_be_is_named(hmdb51, line):
    write(hmdb51 / "kiss_test_split1.txt", KISS + line)
    with pytest.raises(UsageError, match="kiss_test_split1.txt: line 4 is not 'name.avi 0', 1 or 2"):
        read_listing("hmdb51", hmdb51 / "split1")


def test_commands_read_them_as_the_part_to_test_with(ucf101, hmdb51):
    parser = argparse.ArgumentParser()
    add_data_arguments(parser)
    for source, format, root, count in (
        (ucf101 / "testlist01.txt", "ucf101", "UCF-101", 2),
        (hmdb51 / "split1", "hmdb51", "hmdb51_org", 2),
    ):
        given = ["--data", str(source), "--format", format, "--root", str(ucf101.parent / root)]
        options = parser.parse_args(given)
        entries = listing_of("tlee-eval", options, options.data).entries
        assert len(entries) == count and all(entry.path.is_file() for entry in entries)
