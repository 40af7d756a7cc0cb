"""Clips on disk, a video file or a folder of pictures: opened, and read as a model reads them."""

import os
from typing import Callable, Iterable, Iterator, Optional

import numpy as np

from tlee.data.clip import Clip, always
from tlee.data.folder import PICTURES, PictureFolder
from tlee.data.sampling import sampled_order
from tlee.data.video import VideoFile
from tlee.frames import FrameSpec, prepare


def open_clip(path: str, threads: Optional[int] = None) -> Clip:
    """The video file, folder of pictures, or single picture at `path`. Raises InputError where it is none of these.

    Args:
        threads: that decode a video; None for what the machine has.
    """
    pictures = os.path.isdir(path) or os.path.isfile(path) and path.lower().endswith(PICTURES)
    return PictureFolder(path) if pictures else VideoFile(path, threads)


def read_frames(
    clip: Clip, spec: FrameSpec, indices: Optional[Iterable[int]] = None, ahead: Callable[[int], bool] = always
) -> Iterator[np.ndarray]:
    """The model's frames of a clip, or those of `indices`, prepared: each (crop, crop, 3) uint8 RGB, decoded when it is
    asked for; `ahead` as for `Clip.frames`."""
    wanted = sampled_order(clip, spec) if indices is None else indices
    return clip.frames(wanted, lambda frame: prepare(frame, spec), ahead)
