"""What is recognised while it is measured: videos of the user, or frames of noise."""

import contextlib
import os
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np

from tlee.bundle import Bundle
from tlee.data.clips import clips_below
from tlee.errors import InputError

SYNTHETIC = 4  # clips of noise


class Video(NamedTuple):
    """A clip to recognise."""

    name: str  # for people
    clip: Any  # a path, or frames of noise as `Recognizer.recognize` takes them
    label: Optional[int]  # the index of its class, None where that is not known

    @property
    def synthetic(self) -> bool:
        return isinstance(self.clip, np.ndarray)


class UnreadableVideo(Exception):
    """A video turned out to be unreadable, as `error` says."""

    def __init__(self, video: Video, error: InputError) -> None:
        super().__init__(str(error))
        self.video, self.error = video, error


@contextlib.contextmanager
def reading(video: Video) -> Iterator[None]:
    """Raises `UnreadableVideo` for errors of this video in the block: these may name a single picture of it."""
    try:
        yield
    except InputError as error:
        raise UnreadableVideo(video, error) from error


def find_videos(inputs: Sequence[str], labels: Sequence[str]) -> List[Video]:
    """The videos that these inputs name: video files, folders of pictures, or folders with any of these at any depth.
    A video in a folder named after a class is of that class.

    Raises:
        InputError: a folder holds no video.
    """
    videos = []
    for given in inputs:
        paths = clips_below(given).clips if os.path.isdir(given) else [given]
        if not paths:
            raise InputError(given, "no video in this folder", "give video files, or folders of pictures or videos")
        for path in paths:
            folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
            videos.append(Video(path, path, labels.index(folder) if folder in labels else None))
    return videos


def synthetic_videos(bundle: Bundle) -> List[Video]:
    """Clips of noise, always the same ones."""
    random, spec = np.random.RandomState(0), bundle.frames
    shape = (spec.length, spec.crop, spec.crop, 3)
    clips = [random.randint(0, 256, shape).astype(np.uint8) for _ in range(SYNTHETIC)]
    return [Video(f"noise {i}", clip, None) for i, clip in enumerate(clips)]
