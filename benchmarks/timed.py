"""A chain and its frames that note how long each step takes."""

import contextlib
from time import perf_counter
from typing import Any, Callable, Dict, Iterator, List, Optional

import numpy as np

from tlee.benchmarks.videos import Video
from tlee.data.clip import Clip, never
from tlee.data.clips import open_clip
from tlee.data.sampling import sampled_order
from tlee.frames import FrameSpec, prepare
from tlee.inference import ExitValues, Stages
from tlee.runtime.chain import Chain, Loaded
from tlee.runtime.clips import ClipRequest, clip_request

# Of a recognition: opening the file, waiting for pictures to be decoded, preparing frames of them, moving these to
# where they are computed, waiting for answers, what the host does between an answer and the next step, and the rest.
PARTS = ("open", "decode", "prepare", "upload", "compute", "decide", "rest")


class TimedChain(Stages):
    """A chain whose steps are timed. With `is_async`, frames are read and uploaded in another thread.

    Attributes:
        seconds: of each part but the rest, summed up since the last `reset`.
        decisions: of each exit, milliseconds that each of its answers took since then, from the answer before or from
            when the frame was ready.
    """

    def __init__(self, chain: Chain, exits: int, is_async: bool) -> None:
        self._chain, self._exits, self._is_async = chain, exits, is_async
        self.backend, self.array = chain.backend, chain.array
        self.reset()

    def reset(self) -> None:
        self.seconds: Dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self.decisions: List[List[float]] = [[] for _ in range(self._exits)]
        self._waited = 0.0

    def begin(self) -> None:
        self._chain.begin()
        self._began: Optional[float] = None
        self._free = perf_counter()

    def load(self, frame: Any) -> Any:
        start = perf_counter()
        loaded = isinstance(frame, Loaded)
        value = self._chain.load(frame)
        end = perf_counter()
        if not loaded:
            self.seconds["upload"] += end - start
        if loaded or not self._is_async:  # this is not the other thread
            self._waited += start - self._free
            self._free = end
        return value

    def split(self, index: int, x: Any) -> Any:
        if self._began is None:
            self._began = perf_counter()
            self.seconds["decide"] += self._began - self._free
        return self._chain.split(index, x)

    def exit(
        self, index: int, x: Any, previous: Optional[Any], frame: int, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        values = self._chain.exit(index, x, previous, frame, gated, temperature)
        self._free = perf_counter()
        spent = self._free - (self._began or self._free)
        self.seconds["compute"] += spent
        self.decisions[index].append(1000 * spent)
        self._began = None
        return values

    def request(self, video: Video, spec: FrameSpec, ahead: Callable[[int], bool] = never) -> ClipRequest:
        """A video to recognise, the reading of which is timed; `ahead` as for `tlee.data.clip.Clip.frames`."""
        if video.synthetic:
            return clip_request(video.clip, spec)
        start = perf_counter()
        clip = open_clip(video.clip)
        indices = sampled_order(clip, spec)
        self.seconds["open"] += perf_counter() - start
        return ClipRequest(video.name, self._read(clip, spec, indices, ahead), indices, None, start)

    def parts(self, total: float, videos: int) -> Dict[str, float]:
        """Mean milliseconds of a video's parts, of so many videos that took so many seconds since the last `reset`."""
        spent = dict(self.seconds)
        uploading = 0.0 if self._is_async else spent["upload"]
        spent["rest"] = total - spent["open"] - self._waited - uploading - spent["compute"] - spent["decide"]
        return {name: 1000 * seconds / videos for name, seconds in spent.items()}

    def _read(
        self, clip: Clip, spec: FrameSpec, indices: List[int], ahead: Callable[[int], bool]
    ) -> Iterator[np.ndarray]:
        def prepared(picture: np.ndarray) -> np.ndarray:
            start = perf_counter()
            frame = prepare(picture, spec)
            spent = perf_counter() - start
            self.seconds["prepare"] += spent
            self.seconds["decode"] -= spent  # within which it happens
            return frame

        with clip, contextlib.closing(clip.frames(indices, prepared, ahead)) as frames:
            for _ in indices:
                start = perf_counter()
                frame = next(frames)
                self.seconds["decode"] += perf_counter() - start
                yield frame
