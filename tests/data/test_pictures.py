"""Pictures are what OpenCV's own reading gives; a damaged one is one line of ours, and none of the decoders'."""

import os
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from tlee.data.folder import PICTURES, PictureFolder
from tlee.data.pictures import read_picture
from tlee.errors import InputError

SHOW = """
import sys, threading
from tlee.errors import InputError
from tlee.data.folder import PictureFolder
folder = PictureFolder(sys.argv[1])
def read():
    for i in range(folder.frame_count):
        try:
            folder.frame(i)
        except InputError as error:
            print(error)
threads = [threading.Thread(target=read) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
sys.stderr.write("ours\\n")
"""


def drawn(height=40, width=60):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def with_orientation(jpeg, turn):
    """A JPEG that says how the camera was held (EXIF)."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, turn, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 1) + entry + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("ending", PICTURES)
def test_pictures_are_those_that_opencv_reads(tmp_path, ending):
    path = str(tmp_path / f"a{ending}")
    assert cv2.imwrite(path, drawn())
    picture = read_picture(path, cv2)
    assert picture.dtype == np.uint8 and picture.flags["C_CONTIGUOUS"]
    assert np.array_equal(picture, cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_opencv_turns_it(tmp_path, turn):
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(cv2.imencode(".jpg", drawn())[1].tobytes(), turn))
    picture = read_picture(str(path), cv2)
    assert picture.shape == ((40, 60, 3) if turn < 5 else (60, 40, 3))
    assert np.array_equal(picture, cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


def test_pictures_of_print_and_of_16_bits_are_as_others(tmp_path):
    Image.fromarray(drawn()).convert("CMYK").save(tmp_path / "1.jpg", quality=95)
    Image.fromarray(drawn()).save(tmp_path / "2.jpg", quality=95)
    cv2.imwrite(str(tmp_path / "3.png"), drawn()[:, :, ::-1].astype(np.uint16) * 257)
    printed, plain, deep = PictureFolder(str(tmp_path)).frames(range(3))
    assert printed.shape == plain.shape and np.abs(printed.astype(int) - plain).mean() < 8
    assert np.array_equal(deep, drawn())


def test_a_picture_that_breaks_off_is_refused_and_one_with_something_behind_it_is_not(tmp_path):
    whole = cv2.imencode(".jpg", drawn())[1].tobytes()
    for name, content in (("cut.jpg", whole[: len(whole) // 2]), ("head.jpg", whole[:30]), ("start.jpg", whole[:2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: breaks off; remove or replace this file"):
            read_picture(str(tmp_path / name), cv2)
    png = cv2.imencode(".png", drawn())[1].tobytes()
    for content in (png[:-1], png[:60], png[:33] + b"\x7f\xff\xff\xff" + png[37:]):  # the last claims 2 GB
        (tmp_path / "cut.png").write_bytes(content)
        with pytest.raises(InputError, match="cut.png: breaks off"):
            read_picture(str(tmp_path / "cut.png"), cv2)
    (tmp_path / "more.jpg").write_bytes(whole + b"a film of the moment \xff\xda\x00\x00")
    (tmp_path / "whole.jpg").write_bytes(whole)
    more, alone = (read_picture(str(tmp_path / name), cv2) for name in ("more.jpg", "whole.jpg"))
    assert np.array_equal(more, alone)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_decoders_say_nothing_of_their_own_in_any_thread(tmp_path):
    jpeg, png = (cv2.imencode(kind, drawn())[1].tobytes() for kind in (".jpg", ".png"))
    odd = {
        "1.jpg": jpeg[:-2] + b"\0\1\2" * 3 + jpeg[-2:],
        "2.jpg": jpeg[: len(jpeg) // 2],
        "3.jpg": jpeg[:300] + b"\x55\xaa" + jpeg[302:],
        "4.png": png[:-30] + b"xx" + png[-28:],
        "5.png": png[: len(png) // 2],
        "6.png": png[:33] + chunk(b"iCCP", b"x\0\0damaged") + png[33:],
        "7.png": png[:18] + b"zz" + png[20:],
        "8.tif": cv2.imencode(".tif", drawn())[1].tobytes()[:500],
        "9.webp": cv2.imencode(".webp", drawn())[1].tobytes()[:500],
    }
    for name, content in odd.items():
        (tmp_path / name).write_bytes(content)
    said = subprocess.run([sys.executable, "-c", SHOW, str(tmp_path)], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "ours\n")
    assert said.stdout.count("2.jpg: breaks off") == 3 and said.stdout.count("5.png: breaks off") == 3


def test_fill_bytes_of_a_jpeg_are_passed_over_once(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8" + b"\xff" * 300_000 + b"\x00")  # took an hour
    with pytest.raises(InputError, match="a.jpg: breaks off"):
        read_picture(str(tmp_path / "a.jpg"), cv2)
    whole = cv2.imencode(".jpg", drawn())[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(whole[:-2] + b"\xff" * 9 + whole[-2:] + b"behind it")
    assert read_picture(str(tmp_path / "a.jpg"), cv2).shape == (40, 60, 3)


def test_a_picture_of_too_many_pixels_is_refused(tmp_path):
    size = struct.pack(">II", 30_000, 30_000)
    header = chunk(b"IHDR", size + b"\x08\x02\0\0\0")
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(90_001))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match="a.png: more than 134,217,728 pixels"):
        read_picture(str(tmp_path / "a.png"), cv2)
    whole = bytearray(cv2.imencode(".bmp", drawn())[1].tobytes())
    whole[18:26] = struct.pack("<II", 30_000, 30_000)
    (tmp_path / "a.bmp").write_bytes(whole)
    (tmp_path / "a.png").unlink()
    code = "import sys\nfrom tlee.data.folder import PictureFolder\nPictureFolder(sys.argv[1]).frame(0)"
    said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert said.stderr.rstrip().endswith("a.bmp: not a picture that can be decoded; remove or replace this file")


def test_what_is_no_plain_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "2.png").mkdir()
    (tmp_path / "3.png").symlink_to(tmp_path / "none")
    with open(tmp_path / "4.png", "wb") as stream:
        stream.truncate(40 << 30)
    (tmp_path / "5.png").write_bytes(b"")
    folder = PictureFolder(str(tmp_path))
    problems = ["not a plain file", "a folder, not a file", "No such file", "more than the", "not a picture"]
    for i, problem in enumerate(problems):
        with pytest.raises(InputError, match=f"{i + 1}.png: .*{problem}"):
            folder.frame(i)


def test_names_with_digits_of_any_script_are_sorted_somehow(tmp_path):
    names = ["img_10.png", "img_2.png", "①2.png", "٣.png", "²1.png", "४५.png"]
    for name in names:
        (tmp_path / name).write_bytes(cv2.imencode(".png", drawn())[1].tobytes())
    folder = PictureFolder(str(tmp_path))
    order = [os.path.basename(file) for file in folder._files]
    assert sorted(order) == sorted(names) and order.index("img_2.png") < order.index("img_10.png")
    assert folder.index_of(1) == 0 and folder.frame(0).shape == (40, 60, 3)
