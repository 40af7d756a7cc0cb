"""Clips and windows of live sources to recognise: their frames, read lazily."""

import os
import time
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Union

import numpy as np

from tlee.data.clip import never
from tlee.data.clips import open_clip, read_frames
from tlee.data.sampling import sampled_order
from tlee.errors import InputError, TleeError
from tlee.frames import FrameSpec, check_clip
from tlee.runtime.live import LiveSource

TOO_SHORT = "has {} frame{}, the model reads {}: some are used again; give a longer clip for the full accuracy"


class ClipRequest(NamedTuple):
    """One video to recognise."""

    source: str  # its name
    frames: Iterator[np.ndarray]  # prepared, in processing order; closing them closes the file
    indices: List[int]  # of the frames in the video; a live source appends them as its frames come
    warning: Optional[str]  # what the user should know about it
    start: float  # when it was requested, by `time.perf_counter`


Clip = Union[str, "os.PathLike[str]", np.ndarray, ClipRequest]


def clip_request(clip: Clip, spec: FrameSpec, ahead: Callable[[int], bool] = never) -> ClipRequest:
    """A request for what `Recognizer.recognize` takes; `ahead` as for `tlee.data.clip.Clip.frames`.

    Raises:
        InputError: it cannot be opened, is no clip, or its frames are of another shape or type.
    """
    if isinstance(clip, ClipRequest):
        return clip
    start = time.perf_counter()
    if isinstance(clip, np.ndarray):
        check_clip(clip, spec)
        return ClipRequest("frames", iter(clip), list(range(len(clip))), None, start)
    if not isinstance(clip, (str, os.PathLike)):
        problem = f"{type(clip).__name__} is no clip"
        raise InputError("clip", problem, "give a path, an array of frames, or a ClipRequest")
    path = type(clip).__name__  # for errors, until the path is known
    try:
        path = os.fsdecode(clip)
        video = open_clip(path)
        indices, count = sampled_order(video, spec), video.frame_count
    except TleeError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error
    short = TOO_SHORT.format(count, "" if count == 1 else "s", spec.length) if count < spec.length else None
    return ClipRequest(path, _frames_of(video, spec, indices, ahead), indices, short, start)


def unreadable(source: str, error: Exception) -> InputError:
    """For what a library raises that reads a damaged file, or a caller's own iterator."""
    if isinstance(error, MemoryError):
        return InputError(source, "not enough memory to read it", "close other programs, or add swap")
    text = (str(error).strip().splitlines() or [""])[0][:160]
    cause = ": ".join(filter(None, [type(error).__name__, text]))
    return InputError(source, f"its frames cannot be read ({cause})", "check where they come from")


def windows(live: LiveSource, spec: FrameSpec, seconds: float) -> Iterator[ClipRequest]:
    """Successive windows of so many seconds of an open live source. Frames between the sampled ones, and the rest of a
    window once it is answered, are not decoded. The frames of the last window end with `StreamEnd`."""
    step = max(1, int(round(seconds * live.rate / spec.length)))
    first = live.position
    while True:
        indices: List[int] = []
        yield ClipRequest(live.address, live.window(spec, first, step, indices), indices, None, time.perf_counter())
        first += spec.length * step


def _frames_of(video: Any, spec: FrameSpec, indices: List[int], ahead: Callable[[int], bool]) -> Iterator[np.ndarray]:
    with video:
        yield from read_frames(video, spec, indices, ahead)
