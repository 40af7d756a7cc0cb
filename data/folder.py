"""Folders of pictures, one of them for each frame of a video."""

import os
import re
from typing import Any, Dict, Iterable, List, Optional

from tlee.data.clip import Ahead, Clip, Frames, Prepare, always, as_it_is
from tlee.data.pictures import cv2_module, read_picture
from tlee.errors import InputError, system_errors

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


class PictureFolder(Clip):
    """Pictures in natural order of their names (img_2 before img_10).

    Args:
        path: a folder, or a single picture.

    Raises:
        InputError: it has no picture.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if os.path.isdir(path):
            with system_errors(InputError, path, "make the folder readable"):
                names = [n for n in os.listdir(path) if n.lower().endswith(PICTURES) and not n.startswith(".")]
            self._files = [os.path.join(path, n) for n in sorted(names, key=_natural)]
        else:
            self._files = [path]
        self.frame_count = len(self._files)
        self._numbers: Optional[Dict[int, int]] = None
        if not self._files:
            raise InputError(path, "no pictures in this folder", f"give a folder of {'/'.join(PICTURES[:3])}")

    def frames(self, indices: Iterable[int], prepare: Prepare = as_it_is, ahead: Ahead = always) -> Frames:
        for index in indices:
            yield prepare(read_picture(self._files[index], cv2_module()))

    def index_of(self, number: int) -> int:
        """As of every clip. A picture's number is the last one in its name; where two names have the same or none has
        number 1, pictures are counted from 1 in their order."""
        if self._numbers is None:
            found = [re.findall("[0-9]+", os.path.splitext(os.path.basename(file))[0]) for file in self._files]
            self._numbers = {int(parts[-1]): index for index, parts in enumerate(found) if parts}
            if len(self._numbers) < len(found) or 1 not in self._numbers:
                self._numbers = {index + 1: index for index in range(len(found))}
        return self._numbers.get(number, self._numbers[1])


def _natural(name: str) -> List[Any]:
    return [int(part) if i % 2 else part.lower() for i, part in enumerate(re.split("([0-9]+)", name))]
