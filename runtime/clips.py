"""What is to be recognised: clips, and windows of live sources, as frames that are read when they are asked for."""

import os
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Union

import numpy as np

from tlee.frames import FrameSpec, check_clip
from tlee.runtime.live import LiveSource
from tlee.video import open_clip, read_frames, sampled_order

TOO_SHORT = "has {} frame{}, the model reads {}: some are used again; give a longer clip for the full accuracy"


class Task(NamedTuple):
    """One video to recognise.

    Attributes:
        source: its name.
        frames: prepared, in processing order; closing them closes the file.
        indices: of the frames in the video; of a live source they come with the frames.
        warning: what the user should know of it.
        start: when it was asked for, by `time.perf_counter`.
    """

    source: str
    frames: Iterator[np.ndarray]
    indices: List[int]
    warning: Optional[str]
    start: float


Clip = Union[str, "os.PathLike[str]", np.ndarray, Task]


def clip_task(clip: Clip, spec: FrameSpec) -> Task:
    """A video file, a folder of pictures, or frames as `Recognizer.recognize` takes them; a task is one already.

    Raises:
        InputError: it cannot be opened, or the frames are of another shape or type.
    """
    if isinstance(clip, Task):
        return clip
    start = time.perf_counter()
    if isinstance(clip, np.ndarray):
        check_clip(clip, spec)
        return Task("frames", iter(clip), list(range(len(clip))), None, start)
    path = os.fspath(clip)
    video = open_clip(path)
    indices, count = sampled_order(video, spec), video.frame_count
    short = TOO_SHORT.format(count, "" if count == 1 else "s", spec.length) if count < spec.length else None
    return Task(path, _frames_of(video, spec, indices), indices, short, start)


def windows(live: LiveSource, spec: FrameSpec, seconds: float) -> Iterator[Task]:
    """The windows of an open live source, one after the other. What passes between the frames of a window, and once it
    is answered until the next one, is not decoded. Frames of the last window end with `StreamEnd`.

    Args:
        seconds: length of a window.
    """
    step = max(1, int(round(seconds * live.rate / spec.length)))
    first = live.position
    while True:
        indices: List[int] = []
        yield Task(live.address, live.window(spec, first, step, indices), indices, None, time.perf_counter())
        first += spec.length * step


def _frames_of(video: Any, spec: FrameSpec, indices: List[int]) -> Iterator[np.ndarray]:
    with video:
        for frame in read_frames(video, spec, indices):
            yield frame
