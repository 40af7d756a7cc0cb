"""Data sets: each published list says which videos there are, with which classes, and where they lie."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_clip

from tlee.data.clips import open_clip
from tlee.data.labelled.listing import FORMATS, Entry, Listing, read_listing, split_listing
from tlee.errors import InputError, UsageError
from tlee.models.published_schema import CLASSES

NAMES = {"ApplyEyeMakeup": 0, "Archery": 1, "BabyCrawling": 2}
HEADER = "label,youtube_id,time_start,time_end,split,is_cc"


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def pictures(folder, count, pattern="img_{:05d}.jpg"):
    """A folder of tiny pictures from number 1, each grey as its number says."""
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        cv2.imwrite(str(folder / pattern.format(number)), np.full((8, 8, 3), 40 * number, np.uint8))
    return folder


def video(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, frames=2, size=(16, 16), fourcc="MJPG" if path.suffix == ".avi" else "mp4v")


def folders(root):
    video(root / "Throw left" / "b.mp4")
    pictures(root / "Throw left" / "a", 2)
    video(root / "Jump" / "c.avi")
    return {"source": root}


def ucf101(root):
    pictures(root / "jpegs" / "v_ApplyEyeMakeup_g08_c01", 3)
    video(root / "jpegs" / "v_Archery_g08_c01.avi")
    write(root / "lists" / "classInd.txt", "1 ApplyEyeMakeup\r\n2 Archery\r\n3 BabyCrawling\r\n")
    lines = "v_ApplyEyeMakeup_g08_c01 3 0\nv_Archery_g08_c01 2 1\n"
    source = write(root / "lists" / "ucf101_rgb_train_split_1.txt", lines)
    return {"source": source, "root": root / "jpegs", "labels": root / "lists" / "classInd.txt"}


def hmdb51(root):
    pictures(root / "brush_hair" / "April_09_brush_hair_u_nm_np1_ba_goo_0", 2)
    pictures(root / "climb stairs" / "#20_Rhythm_(2)_u_nm_np1_fr_goo_0", 2)
    write(root / "category.txt", "brush_hair\nclimb stairs\n")
    lines = [
        "brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0 2 0",
        "climb stairs/#20_Rhythm_(2)_u_nm_np1_fr_goo_0 2 1",
    ]
    source = write(root / "hmdb51_rgb_val_split_1.txt", "\n".join(lines))
    return {"source": source, "labels": root / "category.txt"}


def ssv2(root):
    pictures(root / "20bn-something-something-v2-frames" / "78687", 2, "{:06d}.jpg")
    labels = {"Pulling something from left to right": "1", "Approaching something with your camera": "0"}
    write(root / "something-something-v2-labels.json", json.dumps(labels))
    source = write(root / "train_videofolder.txt", "78687 2 1\n")
    frames = root / "20bn-something-something-v2-frames"
    return {"source": source, "root": frames, "labels": root / "something-something-v2-labels.json"}


def minikinetics(root):
    video(root / "-0AbC_dEfGh_000003_000013.mp4")
    video(root / "tying knot (not on a tie)" / "x_1y-2z_3Q4_000120_000130.mp4")
    lines = [
        HEADER,
        '"tying knot (not on a tie)",x_1y-2z_3Q4,120,130.0,train,0',
        "abseiling,-0AbC_dEfGh,3,13,train,0",
    ]
    return {"source": write(root / "minikinetics_train.csv", "\n".join(lines))}


def activitynet(root):
    video(root / "v_QOlSCBRmfWY.mp4")
    pictures(root / "v_-bSVCpOuD7w", 2, "{:06d}.jpg")
    database = {
        "QOlSCBRmfWY": about("training", "Zumba", "Archery", "Zumba"),
        "-bSVCpOuD7w": about("training", "Archery"),
        "validated00": about("validation", "Yoga"),
        "nolabels000": about("training"),
        "withheld000": about("testing"),
    }
    content = {"database": database, "taxonomy": [], "version": "VERSION 1.3"}
    return {"source": write(root / "activity_net.v1-3.min.json", json.dumps(content))}


def about(subset, *labels):
    annotations = [{"label": label, "segment": [0.5, 9.25]} for label in labels]
    return {"annotations": annotations, "duration": 82.73, "resolution": "320x240", "subset": subset, "url": ""}


def own_list(folder, lines, **options):
    """A ucf101 list with three classes, its frames beside it."""
    labels = write(folder / "classInd.txt", "1 ApplyEyeMakeup\n2 Archery\n3 BabyCrawling\n")
    return read_listing("ucf101", write(folder / "ucf101_rgb_train_split_1.txt", lines), labels=labels, **options)


def own_csv(folder, *lines, **options):
    return read_listing("minikinetics", write(folder / "kinetics.csv", "\n".join((HEADER, *lines))), **options)


def named(listing):
    """File name and class names of every entry."""
    return [(entry.path.name, [listing.classes[label] for label in entry.labels]) for entry in listing.entries]


READ = {
    "folders": (folders, ["Jump", "Throw left"], [("c.avi", [0]), ("a", [1]), ("b.mp4", [1])]),
    "ucf101": (ucf101, list(NAMES), [("v_ApplyEyeMakeup_g08_c01", [0]), ("v_Archery_g08_c01.avi", [1])]),
    "hmdb51": (
        hmdb51,
        ["brush_hair", "climb stairs"],
        [("April_09_brush_hair_u_nm_np1_ba_goo_0", [0]), ("#20_Rhythm_(2)_u_nm_np1_fr_goo_0", [1])],
    ),
    "ssv2": (
        ssv2,
        ["Approaching something with your camera", "Pulling something from left to right"],
        [("78687", [1])],
    ),
    "minikinetics": (
        minikinetics,
        ["abseiling", "tying knot (not on a tie)"],
        [("x_1y-2z_3Q4_000120_000130.mp4", [1]), ("-0AbC_dEfGh_000003_000013.mp4", [0])],
    ),
    "activitynet1.3": (
        activitynet,
        ["Archery", "Yoga", "Zumba"],
        [("v_QOlSCBRmfWY.mp4", [0, 2]), ("v_-bSVCpOuD7w", [0])],
    ),
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_data_set_is_read_from_its_own_list(tmp_path, format):
    build, classes, entries = READ[format]
    listing = read_listing(format, **build(tmp_path))
    assert listing.classes == classes
    assert [(entry.path.name, list(entry.labels)) for entry in listing.entries] == entries
    for entry in listing.entries:
        with open_clip(str(entry.path)) as clip:
            assert clip.frame(clip.frame_count - 1).shape[2] == 3


def test_a_mirrored_video_keeps_its_class_where_classes_do_not_name_sides(tmp_path):
    flips = {name: read_listing(name, **READ[name][0](tmp_path / name)).flips for name in FORMATS}
    assert [name for name, flip in flips.items() if not flip] == ["folders", "ssv2"]


@pytest.mark.parametrize("format", CLASSES)
def test_without_a_label_file_the_published_number_of_classes_is_expected(tmp_path, format):
    fixture = {**READ[format][0](tmp_path), "labels": None}
    listing = read_listing(format, **fixture)
    if format in ("minikinetics", "activitynet1.3"):  # the list names its classes
        assert f"classes, where {CLASSES[format]} are published: 1 (first: {len(listing.classes)})" in listing.notes
    else:
        assert listing.classes == [f"class {i}" for i in range(CLASSES[format])]


def test_a_listing_needs_no_torch():
    code = "import sys, tlee.data.labelled.listing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=300).returncode == 0


# Folders


def test_an_empty_class_folder_stays_a_class_and_is_told(tmp_path):
    video(tmp_path / "a" / "1.mp4")
    (tmp_path / "b").mkdir()
    video(tmp_path / "c" / "1.mp4")
    listing = read_listing("folders", tmp_path)
    assert listing.classes == ["a", "b", "c"] and named(listing) == [("1.mp4", ["a"]), ("1.mp4", ["c"])]
    assert listing.notes == ["classes without videos: 1 (first: 'b')"]


def test_hidden_and_other_files_are_no_clips(tmp_path):
    video(tmp_path / "a" / "1.MP4")
    video(tmp_path / "a" / ".2.mp4")
    write(tmp_path / "a" / "readme.txt", "text")
    write(tmp_path / "labels.txt", "text")
    (tmp_path / "a" / ".thumbnails").mkdir()
    (tmp_path / ".git" / "hooks").mkdir(parents=True)
    listing = read_listing("folders", tmp_path)
    assert listing.classes == ["a"] and named(listing) == [("1.MP4", ["a"])]


def test_a_label_file_fixes_the_classes_of_folders(tmp_path):
    video(tmp_path / "val" / "run" / "1.mp4")
    labels = write(tmp_path / "labels.txt", "walk\nrun\n")
    listing = read_listing("folders", tmp_path / "val", labels=labels)
    assert listing.classes == ["walk", "run"] and listing.entries[0].labels == (1,)


# Lists of `path num_frames label`


def test_blank_lines_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    write(tmp_path / "classInd.txt", "\ufeff1 ApplyEyeMakeup\r\n\r\n2 Archery\r\n")
    source = write(tmp_path / "list.txt", "\ufeff\r\na 3 0\r\n\r\n  \r\nb 3 1\r\n")
    listing = read_listing("ucf101", source, labels=tmp_path / "classInd.txt")
    assert named(listing) == [("a", ["ApplyEyeMakeup"]), ("b", ["Archery"])]


def test_a_path_may_hold_spaces_and_any_letters(tmp_path):
    pictures(tmp_path / "Augen schminken" / "v_Größe 2 眼 1", 2)
    listing = own_list(tmp_path, "Augen schminken/v_Größe 2 眼 1 2 0\n")
    assert listing.entries[0].path == tmp_path / "Augen schminken" / "v_Größe 2 眼 1"
    with open_clip(str(listing.entries[0].path)) as clip:
        assert clip.frame_count == 2


def test_class_names_may_hold_any_letters(tmp_path):
    labels = write(tmp_path / "category.txt", "Brötchen backen\n跳\u2028跃\n")
    source = write(tmp_path / "list.txt", "a 3 0\nb 3 1")
    assert read_listing("hmdb51", source, labels=labels).classes == ["Brötchen backen", "跳\u2028跃"]


@pytest.mark.parametrize(
    ("listed", "there"),
    [("v_a", "v_a.avi"), ("v_a", "v_a.webm"), ("v_a.avi", "v_a.avi"), ("v_a.b", "v_a.b.mp4"), ("v_a.b", "v_a.b")],
)
def test_a_listed_path_may_be_a_video_with_or_without_its_suffix(tmp_path, listed, there):
    write(tmp_path / there, "a video")
    listing = own_list(tmp_path, f"{listed} 3 0")
    assert listing.entries[0].path == tmp_path / there and not any("not there" in note for note in listing.notes)


def test_frames_are_preferred_to_a_video_of_the_same_name(tmp_path):
    write(tmp_path / "v_a.avi", "a video")
    pictures(tmp_path / "v_a", 1)
    assert own_list(tmp_path, "v_a 1 0").entries[0].path == tmp_path / "v_a"


def test_a_listed_path_may_be_absolute(tmp_path):
    frames = pictures(tmp_path / "elsewhere" / "v_a", 2)
    (tmp_path / "root").mkdir()
    assert own_list(tmp_path, f"{frames} 2 0", root=tmp_path / "root").entries[0].path == frames


def test_a_hole_in_the_frames_is_told_and_the_others_are_read(tmp_path):
    (pictures(tmp_path / "v_a", 4) / "img_00002.jpg").unlink()
    pictures(tmp_path / "v_b", 1)
    pictures(tmp_path / "v_c", 3)
    listing = own_list(tmp_path, "v_c 3 0\nv_a 4 1\nv_b 4 2\n")
    assert listing.notes == [f"folders with fewer pictures than listed: 2 (first: {tmp_path / 'v_a'}, 3 for 4)"]
    with open_clip(str(listing.entries[1].path)) as clip:
        greys = [int(clip.frame(i).mean()) for i in range(clip.frame_count)]
    assert np.allclose(greys, [40, 120, 160], atol=3)


def test_pictures_beside_the_listed_frames_are_told(tmp_path):
    cv2.imwrite(str(pictures(tmp_path / "v_a", 2) / "flow_x_00001.jpg"), np.zeros((8, 8, 3), np.uint8))
    write(tmp_path / "v_a" / "thumbs.db", "no picture")
    write(tmp_path / "v_a" / "._img_00001.jpg", "hidden")
    notes = own_list(tmp_path, "v_a 2 0").notes
    assert notes[0].startswith("folders with more pictures than listed") and notes[0].endswith("v_a, 3 for 2)")


def test_a_missing_video_stays_listed_and_is_found_out_when_read(tmp_path):
    listing = own_list(tmp_path, "v_a 3 0\nv_b 3 1\nv_c 3 2")
    assert listing.notes == [f"videos that are not there: 3 (first: {tmp_path / 'v_a'})"]
    with pytest.raises(InputError, match="v_b: no such file or folder"):
        open_clip(str(listing.entries[1].path))


def test_an_unreadable_video_stays_listed_and_is_found_out_when_read(tmp_path):
    write(tmp_path / "v_a.avi", "no video")
    listing = own_list(tmp_path, "v_a 3 0")
    with pytest.raises(InputError, match="v_a.avi: not a video"):
        open_clip(str(listing.entries[0].path))


def test_a_line_given_twice_counts_once(tmp_path):
    listing = own_list(tmp_path, "v_a 3 0\nv_b 3 1\nv_a 3 0\nv_c 3 2\n")
    assert [name for name, _ in named(listing)] == ["v_a", "v_b", "v_c"]
    assert "videos listed again, used once: 1 (first: line 3)" in listing.notes


def test_classes_that_no_video_shows_are_told(tmp_path):
    assert "classes without videos: 2 (first: 'ApplyEyeMakeup')" in own_list(tmp_path, "v_a 3 1").notes


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("v_b 3", "line 2 is not 'path num_frames label': v_b 3;"),
        ("v_b 1", "line 2 is not 'path num_frames label'"),
        ("ApplyEyeMakeup/v_b.avi 1", "line 2 is not 'path num_frames label'"),
        ("v_b 3 one", "line 2 is not 'path num_frames label'"),
        ("v_b many 1", "line 2 is not 'path num_frames label'"),
        ("v_b 3 -1", "line 2 is not 'path num_frames label'"),
        ("v_b 3 1.5", "line 2 is not 'path num_frames label'"),
        ("v_b 3 ١", "line 2 is not 'path num_frames label'"),
        ("v_b 3 " + 5000 * "9", "line 2 is not 'path num_frames label'"),
        ("v_b 3 3", "line 2: label '3' is none of the 3 classes of .*classInd.txt; .*numbers count from 0"),
        ("v_a 3 1", "line 2: 'v_a' has another class in line 1;"),
        ("v_\0b 3 1", "not text"),
    ],
)
def test_a_line_that_cannot_be_is_named(tmp_path, line, problem):
    with pytest.raises(UsageError, match=f"ucf101_rgb_train_split_1.txt: {problem}") as error:
        own_list(tmp_path, f"v_a 3 0\n{line}\nv_c 3 2\n")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_label_beyond_the_published_classes_is_named(tmp_path):
    source = write(tmp_path / "list.txt", "v_a 3 100\nv_b 3 101\n")
    with pytest.raises(UsageError, match="list.txt: line 2: label '101' is none of the 101 classes of ucf101"):
        read_listing("ucf101", source)


# Label files


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classInd.txt", "3 BabyCrawling\n1 ApplyEyeMakeup\n2 Archery\n"),
        ("classes.txt", "0 ApplyEyeMakeup\n1 Archery\n2\tBabyCrawling\n"),
        ("category.txt", "ApplyEyeMakeup\nArchery\n\nBabyCrawling"),
        ("labels.json", json.dumps(NAMES)),
        ("LABELS.JSON", json.dumps({name: str(number) for name, number in reversed(NAMES.items())})),
    ],
)
def test_class_names_come_in_the_order_of_their_numbers(tmp_path, file, text):
    source = write(tmp_path / "list.txt", "v_a 3 2")
    assert read_listing("ucf101", source, labels=write(tmp_path / file, text)).classes == list(NAMES)


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("classInd.txt", "1 ApplyEyeMakeup\n3 BabyCrawling", "its 2 classes are not numbered without gaps"),
        ("classInd.txt", "1 ApplyEyeMakeup\n1 Archery", "its 2 classes are not numbered without gaps"),
        ("classInd.txt", "2 Archery\n3 BabyCrawling", "its 2 classes are not numbered without gaps"),
        ("classInd.txt", "1 ApplyEyeMakeup\nArchery", "line 2 is not 'number name': Archery"),
        ("category.txt", "Archery\nArchery", "a class is named twice"),
        ("category.txt", "\n \n", "no class names here"),
        ("labels.json", "{", "not JSON"),
        ("labels.json", 9999 * "[", "not JSON"),
        ("labels.json", '["Archery"]', "not of the shape"),
        ("labels.json", '{"Archery": "first"}', "not of the shape"),
        ("labels.json", '{"Archery": -1}', "not of the shape"),
        ("labels.json", "{}", "no class names here"),
    ],
)
def test_a_label_file_that_cannot_be_is_named(tmp_path, file, text, problem):
    source = write(tmp_path / "list.txt", "v_a 3 0")
    with pytest.raises(UsageError, match=f"{file}: {problem}"):
        read_listing("ucf101", source, labels=write(tmp_path / file, text))


# Kinetics


ROWS = ["a,train_id,0,10,train,0", "b,val_id,0,10,validate,0", "c,test_id,0,10,test,0"]


@pytest.mark.parametrize(("split", "ids"), [("train", ["train_id"]), ("val", ["val_id", "test_id"])])
def test_of_several_splits_in_one_csv_the_wanted_one_is_read(tmp_path, split, ids):
    listing = own_csv(tmp_path, *ROWS, split=split)
    assert [entry.path.name for entry in listing.entries] == [f"{name}_000000_000010.mp4" for name in ids]
    assert listing.classes == ["a", "b", "c"]  # of the whole file, so that both splits count alike


@pytest.mark.parametrize("name", ["train", "val", "mini", ""])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_csv_of_one_split_is_read_whole(tmp_path, name, split):
    assert len(own_csv(tmp_path, f"a,x,0,10,{name},0", f"b,y,0,10,{name},0", split=split).entries) == 2


def test_columns_are_found_by_name(tmp_path):
    lines = "\ufefftime_end, time_start,youtube_id,split,label\r\n\r\n13,3.0,x,train, größe \r\n , \r\n"
    source = write(tmp_path / "kinetics.csv", lines)
    assert named(read_listing("minikinetics", source)) == [("x_000003_000013.mp4", ["größe"])]


def test_a_video_without_a_class_is_left_out_and_told(tmp_path):
    listing = own_csv(tmp_path, "a,x,0,10,test,0", ",y,0,10,test,0")
    assert len(listing.entries) == 1 and "videos without a class, left out: 1 (first: line 3)" in listing.notes


def test_a_label_file_fixes_the_classes_of_named_labels(tmp_path):
    labels = write(tmp_path / "classes.txt", "c\nb\na\n")
    listing = own_csv(tmp_path, *ROWS, labels=labels)
    assert listing.classes == ["c", "b", "a"] and listing.entries[0].labels == (2,)


def test_a_missing_kinetics_video_is_expected_under_the_root(tmp_path):
    (tmp_path / "videos").mkdir()
    listing = own_csv(tmp_path, "a,x,1,11,train,0", root=tmp_path / "videos")
    assert listing.entries[0].path == tmp_path / "videos" / "x_000001_000011.mp4"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("b,y,0,10,train", "line 3 has 5 fields, the header 6"),
        ("knot, tying,y,0,10,train,0", "line 3 has 7 fields, the header 6; put labels with commas in double quotes"),
        ("b,y,zero,10,train,0", "line 3 has no youtube_id, or times that are not whole seconds"),
        ("b,y,0,10.5,train,0", "line 3 has no youtube_id, or times that are not whole seconds"),
        ("b,,0,10,train,0", "line 3 has no youtube_id"),
        ("b,y,0,10,third,0", "line 3: split 'third' is not known; use one of train, val"),
        ('"b,y,0,10,train,0', "line 3 is not CSV"),
        ("b,x,0,10,train,0", "line 3: 'x_000000_000010' has another class in line 2"),
    ],
)
def test_a_row_that_cannot_be_is_named(tmp_path, line, problem):
    with pytest.raises(UsageError, match=f"kinetics.csv: {problem}"):
        own_csv(tmp_path, "a,x,0,10,train,0", line)


def test_missing_columns_are_named(tmp_path):
    source = write(tmp_path / "kinetics.csv", "label,youtube_id,split\na,x,train\n")
    with pytest.raises(UsageError, match="kinetics.csv: line 1 has no column time_start, time_end"):
        read_listing("minikinetics", source)


# ActivityNet


@pytest.mark.parametrize(
    ("split", "entries"),
    [
        ("train", [("v_QOlSCBRmfWY.mp4", ["Archery", "Zumba"]), ("v_-bSVCpOuD7w", ["Archery"])]),
        ("val", [("v_validated00.mp4", ["Yoga"])]),
    ],
)
def test_a_video_has_every_class_annotated_in_it(tmp_path, split, entries):
    assert named(read_listing("activitynet1.3", **activitynet(tmp_path), split=split)) == entries


def test_several_classes_are_sorted_by_index(tmp_path):
    labels = write(tmp_path / "classes.txt", "Zumba\nYoga\nArchery\n")
    listing = read_listing("activitynet1.3", **activitynet(tmp_path), labels=labels)
    assert [entry.labels for entry in listing.entries] == [(0, 2), (2,)]


def test_videos_without_annotations_are_left_out_and_told(tmp_path):
    notes = read_listing("activitynet1.3", **activitynet(tmp_path)).notes
    assert "videos without a class, left out: 1 (first: video nolabels000)" in notes


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_downloads_come_with_several_suffixes(tmp_path, suffix):
    write(tmp_path / f"v_x{suffix}", "a video")
    source = write(tmp_path / "list.json", json.dumps({"database": {"x": about("training", "Größe")}}))
    assert named(read_listing("activitynet1.3", source)) == [(f"v_x{suffix}", ["Größe"])]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"videos": {}},
        {"database": []},
        {"database": {"x": []}},
        {"database": {"x": {"annotations": []}}},
        {"database": {"x": {"subset": "training", "annotations": {}, "more": 1}, "y": {"subset": 3}}},
        {"database": {"x": {"subset": "training", "annotations": [{"segment": [0, 1]}]}}},
        {"database": {"x": {"subset": "training", "annotations": [{"label": ["Archery"]}]}}},
        {"database": {"x": {"subset": "training", "annotations": [{"label": 7}]}}},
        {"database": {"x": {"subset": "training", "annotations": None}}},
    ],
)
def test_json_of_another_shape_is_refused(tmp_path, content):
    source = write(tmp_path / "activity_net.v1-3.min.json", json.dumps(content))
    with pytest.raises(UsageError, match="activity_net.v1-3.min.json: not of the shape"):
        read_listing("activitynet1.3", source)


def test_json_that_breaks_off_is_named_with_the_line(tmp_path):
    source = write(tmp_path / "activity_net.v1-3.min.json", '{\n"database": {')
    with pytest.raises(UsageError, match=r"min.json: not JSON \(.*line 2 column"):
        read_listing("activitynet1.3", source)


# What all have in common


@pytest.mark.parametrize("format", ["folders", "minikinetics", "activitynet1.3"])
def test_a_label_file_that_disagrees_with_the_list_is_refused(tmp_path, format):
    labels = write(tmp_path / "labels.txt", "Jump\nabseiling\nArchery\nYoga\n")
    with pytest.raises(UsageError, match="label '(Throw left|tying knot.*|Zumba)' is none of the 4 classes of .*txt;"):
        read_listing(format, **READ[format][0](tmp_path / "data"), labels=labels)


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_that_is_missing_is_named(tmp_path, format):
    with pytest.raises(UsageError, match="nowhere: .*No such file or directory"):
        read_listing(format, tmp_path / "nowhere")


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_of_the_other_kind_is_named(tmp_path, format):
    source = write(tmp_path / "source", "text") if format == "folders" else tmp_path
    with pytest.raises(UsageError, match=f"{source}: .*(Not a directory|a folder, not a file)"):
        read_listing(format, source)


@pytest.mark.parametrize("name", ["b.MTS", "b.m2ts", "b.3gp", "b.3g2", "b.mjpeg", "b.mjpg"])
def test_videos_of_cameras_and_telephones_are_clips(tmp_path, name):
    source = folders(tmp_path)["source"]
    write_clip(source / "Jump" / "a.ts", frames=12)
    (source / "Jump" / "a.ts").rename(source / "Jump" / name)
    listing = read_listing("folders", source)
    assert source / "Jump" / name in [entry.path for entry in listing.entries] and listing.notes == []
    with open_clip(str(source / "Jump" / name)) as clip:
        assert clip.frame_count == 12


def test_files_that_are_left_out_are_told(tmp_path):
    source = folders(tmp_path)["source"]
    for name in ("Jump/a.h264", "Jump/notes.txt", "Jump/.hidden", "beside.mp4", "readme.txt"):
        write(source / name, "")
    notes = read_listing("folders", source).notes
    told = "files left out, since no class has them, or by their names they are no videos: 3 (first: beside.mp4)"
    assert notes == [told]


@pytest.mark.parametrize("format", CLASSES)
def test_a_list_that_is_no_plain_file_or_too_large_is_refused_at_once(tmp_path, format):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(40 << 30)
    for name, problem in (("pipe", "not a plain file"), ("large", "42,949,672,960 bytes, more than")):
        with pytest.raises(UsageError, match=f"{name}: {problem}"):
            read_listing(format, tmp_path / name)


@pytest.mark.parametrize("format", CLASSES)
def test_a_source_that_is_no_utf8_is_named(tmp_path, format):
    source = write(tmp_path / "list", "größe 3 0", encoding="latin-1")
    with pytest.raises(UsageError, match="list: not text in UTF-8"):
        read_listing(format, source)


@pytest.mark.parametrize(
    ("format", "text"),
    [("ucf101", "\n\n"), ("minikinetics", HEADER + "\n"), ("activitynet1.3", '{"database": {}}')],
)
def test_a_list_of_nothing_is_refused(tmp_path, format, text):
    with pytest.raises(UsageError, match="list: no clips here"):
        read_listing(format, write(tmp_path / "list", text))


def test_folders_of_nothing_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="no clips here for train; .* one subfolder of clips per class"):
        read_listing("folders", tmp_path)


@pytest.mark.parametrize(
    ("format", "options", "problem"),
    [
        ("ucf-101", {}, "'ucf-101' is not known; use one of folders, ucf101, hmdb51"),
        ("ucf101", {"root": "nowhere"}, "nowhere: no such folder"),
        ("ucf101", {"labels": "nowhere.txt"}, "nowhere.txt: No such file"),
        ("folders", {"root": "."}, "root . given for folders, which have none; leave the root out"),
    ],
)
def test_a_question_that_cannot_be_is_refused(tmp_path, format, options, problem):
    source = write(tmp_path / "list.txt", "v_a 3 0")
    with pytest.raises(UsageError, match=problem):
        read_listing(format, source, **options)


# Dividing


def listing_of(*labels, classes=4):
    entries = [Entry(Path(f"{i}.mp4"), given) for i, given in enumerate(labels)]
    return Listing(entries, [f"class {i}" for i in range(classes)], True, ["an earlier note"])


SIZES = [(i,) for i, count in enumerate((20, 7, 2, 1)) for _ in range(count)]


def test_every_class_gives_its_share():
    train, val = split_listing(listing_of(*SIZES), 0.3, seed=0)
    assert [sum(entry.labels == (i,) for entry in val.entries) for i in range(4)] == [6, 2, 1, 0]
    assert [sum(entry.labels == (i,) for entry in train.entries) for i in range(4)] == [14, 5, 1, 1]
    assert val.classes == train.classes == ["class 0", "class 1", "class 2", "class 3"] and val.flips and train.flips


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_the_parts_are_disjoint_and_complete_and_keep_a_video_of_every_class(share):
    listing = listing_of(*SIZES, (0, 1), (1, 2), (3, 0))
    train, val = split_listing(listing, share, seed=1)
    assert [entry for entry in listing.entries if entry in train.entries] == train.entries
    assert [entry for entry in listing.entries if entry not in train.entries] == val.entries
    assert {label for entry in train.entries for label in entry.labels} == {0, 1, 2, 3}
    assert val.entries


def test_a_class_with_one_video_stays_in_train_and_is_told_once():
    train, val = split_listing(listing_of((0,), (0,), (1,), classes=3), 0.5, seed=0)
    told = "classes with too few videos to give one to validation: 1 (first: 'class 1')"
    assert train.notes == ["an earlier note", told] and val.notes == []
    assert (1,) in [entry.labels for entry in train.entries]


def test_several_classes_keep_a_video_each_when_they_share_videos():
    listing = listing_of((0, 1), (0, 1), (0, 2), (1, 2), (2,))
    for seed in range(20):
        train, _ = split_listing(listing, 0.9, seed)
        assert {label for entry in train.entries for label in entry.labels} == {0, 1, 2}


def test_the_seed_fixes_the_division():
    parts = [split_listing(listing_of(*SIZES), 0.3, seed)[1].entries for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


@pytest.mark.parametrize("share", [0, 1, -0.5, 10, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="is not between 0 and 1"):
        split_listing(listing_of(*SIZES), share, seed=0)


def test_classes_of_one_video_each_cannot_be_divided():
    with pytest.raises(UsageError, match="no class has two videos to divide"):
        split_listing(listing_of((0,), (1,)), 0.5, seed=0)
