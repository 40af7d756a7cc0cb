"""Clips on disk, a video file or a folder of pictures: opened, and read as a model reads them."""

import os
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional

import numpy as np

from tlee.data.clip import Clip, always
from tlee.data.folder import PICTURES, PictureFolder
from tlee.data.sampling import sampled_order
from tlee.data.video import VIDEOS, VideoFile
from tlee.frames import FrameSpec, prepare


class FoundClips(NamedTuple):
    """What `clips_below` found, each by its path, in the order of names."""

    clips: List[str]
    empty: List[str]  # folders with neither clips nor folders in them
    others: List[str]  # files that are no videos by their names; folders and videos beside the pictures of a clip


def open_clip(path: str, threads: Optional[int] = None) -> Clip:
    """The video file, folder of pictures, or single picture at `path`. Raises InputError where it is none of these.

    Args:
        threads: that decode a video; None for what the machine has.
    """
    pictures = os.path.isdir(path) or os.path.isfile(path) and path.lower().endswith(PICTURES)
    return PictureFolder(path) if pictures else VideoFile(path, threads)


def clips_below(folder: str) -> FoundClips:
    """The clips in a folder at any depth: video files, and folders with pictures, each of which is one clip. Hidden
    names are left out. A folder that cannot be read counts as a clip: opening it says why."""
    found, entered, left = FoundClips([], [], []), set(), [folder]
    while left:
        place = left.pop()
        entered.add(os.path.realpath(place))
        try:
            names = [name for name in os.listdir(place) if not name.startswith(".")]
        except OSError:
            found.clips.append(place)
            continue
        paths = [os.path.join(place, name) for name in names if not name.lower().endswith(PICTURES)]
        folders = [path for path in paths if os.path.isdir(path)]
        videos = [path for path in paths if path.lower().endswith(VIDEOS) and path not in folders]
        if len(paths) < len(names):
            found.clips.append(place)
            found.others.extend(folders + videos)
            continue
        found.clips.extend(videos)
        found.others.extend(set(paths).difference(folders, videos))
        if not folders and not videos:
            found.empty.append(place)
        left += [path for path in folders if os.path.realpath(path) not in entered]  # a link may lead back
    return FoundClips(*map(sorted, found))


def read_frames(
    clip: Clip, spec: FrameSpec, indices: Optional[Iterable[int]] = None, ahead: Callable[[int], bool] = always
) -> Iterator[np.ndarray]:
    """The model's frames of a clip, or those of `indices`, prepared: each (crop, crop, 3) uint8 RGB, decoded when it is
    asked for; `ahead` as for `Clip.frames`."""
    wanted = sampled_order(clip, spec) if indices is None else indices
    return clip.frames(wanted, lambda frame: prepare(frame, spec), ahead)
