"""What recognising a video gives: small named results, and their JSON form."""

from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np


class TraceStep(NamedTuple):
    """One evaluated exit, as `recognize(..., trace=True)` records it."""

    frame: int  # position in processing order
    exit: int
    logits: np.ndarray  # (K,) float32
    confidence: float
    score: Optional[float]  # the gate's, None where the rule does not read it
    z: np.ndarray  # (D,) float32, after the FRM
    action: str
    reason: str


class Frame(NamedTuple):
    """One frame that was used."""

    video_frame: int  # index in the video
    exit_layer: int  # exit it left at: 0 .. B-1 a branch, B the tail
    reason: str
    confidence: float
    milliseconds: float  # decoding, preparing and computing


class Result(NamedTuple):
    """The answer for one video.

    exit_frame and exit_layer count from 0: the answer came at that frame in processing order, at that exit
    (0 .. B-1 a branch, B the tail). share is the part of the full computation that was done: all frames to
    the tail without branches and gates is 1.
    """

    source: str
    label: str
    class_index: int
    confidence: float
    exit_frame: int
    exit_layer: int
    reason: str
    frames: List[Frame]
    macs: int
    share: float
    milliseconds: float
    warning: Optional[str] = None
    trace: Optional[List[TraceStep]] = None

    def as_json(self) -> Dict[str, Any]:
        """Plain values for one line of JSON; the trace, made of arrays, is left out."""
        result = {k: v for k, v in self._asdict().items() if k != "trace"}
        result["frames"] = [dict(frame._asdict()) for frame in self.frames]
        return result
