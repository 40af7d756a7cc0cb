"""Holds the reader of video on one machine to that on another: the same pictures of the same files, in whatever order.

As a program: `videos.py make FOLDER` makes the files, as users bring them; `videos.py read FOLDER` writes what this
machine's reader gives to FOLDER/expected.npz; `videos.py compare FOLDER`, elsewhere, reads the files in several orders
and says what differs. The last two run on Python 3.6 with NumPy 1.13.
"""

import os
import random
import sys

import numpy as np

from tlee.data.clips import open_clip
from tlee.errors import InputError

PUBLISHED = [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]  # an order of ten frames as a model takes them
GRID = 8, 12  # parts of a picture of which the colour is compared: enough to tell its number, and how it is turned
TOLERANCE = 6  # of 255, of a part's colour: decoders and converters round differently; another number differs by 200
# What Ubuntu 18.04's GStreamer does not open, and one of which FFmpeg blurs the colours, as it does at odd widths.
OTHER = {"av1.mp4", "av1.mkv", "keys_everywhere_av1.mkv", "odd.webm"}
OTHER.update(["partial.gif", "transparent_1.gif", "transparent_2.gif", "transparent_3.gif"])


def make(folder):
    """The case files, and those that readers stumble over."""
    import tempfile
    from pathlib import Path

    from helpers.odd_videos import CODED
    from helpers.videos import make_videos

    os.makedirs(folder, exist_ok=True)
    make_videos(Path(folder))
    for name in sorted(CODED.keys() - OTHER):
        with tempfile.TemporaryDirectory(dir=folder) as parts:
            CODED[name](Path(parts, name)).rename(Path(folder, name))


def parts(picture):
    """Height, width, and the mean colour of each part of a picture."""
    height, width, _ = picture.shape
    rows, columns = min(height, GRID[0]), min(width, GRID[1])
    tall, wide = height // rows, width // columns
    cut = picture[: tall * rows, : wide * columns].reshape(rows, tall, columns, wide, 3)
    return np.concatenate([[height, width], cut.mean((1, 3)).ravel()])


def videos(folder):
    return sorted(name for name in os.listdir(folder) if not name.endswith(".npz"))


def read(folder, name, order):
    """Parts of the pictures in an order, up to an error, and that."""
    found, path = [], os.path.join(folder, name)
    try:
        with open_clip(path) as clip:
            for picture in clip.frames(order or range(clip.frame_count)):
                found.append(parts(picture))
    except InputError as error:
        return found, str(error).replace(path, name)
    return found, ""


def write(folder):
    """What the reader here gives of every file."""
    expected = {}
    for name in videos(folder):
        found, problem = read(folder, name, [])
        with open_clip(os.path.join(folder, name)) as clip:
            count = clip.frame_count
        expected[name] = np.array(found)
        expected[name + " count"] = np.array(count)
        expected[name + " problem"] = np.array(problem)
    np.savez_compressed(os.path.join(folder, "expected.npz"), **expected)


def orders(count):
    every, sampled = list(range(count)), [(2 * i + 1) * count // 20 for i in range(10)]
    return {
        "in the model's order": [sampled[i] for i in PUBLISHED],
        "ascending": every,
        "descending": every[::-1],
        "shuffled": random.Random(1).sample(every, count),
        "with repetitions": [0, count // 3, 0, count // 3],
    }


def differences(folder, name, expected):
    """In which orders a file is read otherwise, and where."""
    there, problem, count = (expected[name + rest] for rest in ("", " problem", " count"))
    with open_clip(os.path.join(folder, name)) as clip:
        if clip.frame_count != count:
            return [f"{clip.frame_count} frames, not {count}"]
    result = []
    for words, order in orders(int(count)).items():
        good = next((place for place, index in enumerate(order) if index >= len(there)), len(order))
        found, said = read(folder, name, order)
        if said != (str(problem) if good < len(order) else "") or len(found) != good:
            result.append(f"{words}: {len(found)} pictures, then {said!r}")
            continue
        other = [i for i, one in zip(order, found) if np.abs(one - there[i]).max() > TOLERANCE]
        if other:
            result.append(f"{words}: {len(other)} of {good} are others, first that at {other[0]}")
    return result


def compare(folder):
    """What is read otherwise here, line by line; the exit status."""
    expected, bad, names = np.load(os.path.join(folder, "expected.npz")), 0, videos(folder)
    for name in names:
        try:
            said = differences(folder, name, expected)
        except InputError as error:
            said = [str(error)]
        bad += bool(said)
        for line in said:
            print(f"  {name}: {line}")
    print(f"  {len(names) - bad} of {len(names)} videos give the same pictures in every order")
    return int(bad > 0)


if __name__ == "__main__":
    action, place = sys.argv[1:]
    sys.exit({"make": make, "read": write, "compare": compare}[action](place))
