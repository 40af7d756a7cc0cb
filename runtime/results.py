"""The result of recognising a video, and its JSON form."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tlee.errors import InputError
from tlee.inference import Step
from tlee.runtime.clips import ClipRequest

Timed = Tuple[Step, float]  # a step, and the milliseconds of computing since its frame began


class TraceStep(NamedTuple):
    """One evaluated exit, as `recognize(..., trace=True)` records it."""

    frame: int  # position in processing order
    exit: int  # 0 .. B-1 a branch, B the tail
    logits: np.ndarray  # (K,) float32
    confidence: float  # 0 to 1
    score: Optional[float]  # the gate's, 0 to 1, None where the rule does not read it
    z: np.ndarray  # (D,) float32, after the FRM
    action: str  # a value of `tlee.policy.Action`
    reason: str  # a value of `tlee.policy.Reason`


class Frame(NamedTuple):
    """One frame that was used."""

    video_frame: int  # index in the video
    exit_layer: int  # exit it left at: 0 .. B-1 a branch, B the tail
    reason: str  # a value of `tlee.policy.Reason`
    confidence: float  # 0 to 1
    milliseconds: float  # of computing, by the clock of the device that computes; of a batch, of the whole batch


class Result(NamedTuple):
    """The answer for one video."""

    source: str  # the clip's path, or the live source's address
    label: str  # the class that was recognised
    class_index: int  # its number, from 0
    confidence: float  # its probability, 0 to 1
    exit_frame: int  # the frame that the answer came at, from 0, in processing order
    exit_layer: int  # the exit that the answer came at: 0 .. B-1 a branch, B the tail
    reason: str  # why the video stopped, a value of `tlee.policy.Reason`
    frames: List[Frame]  # those that were used, in processing order
    macs: int  # multiply-accumulates that were done
    share: float  # of the full computation: 1 is all frames to the tail without branches and gates
    milliseconds: float  # wall clock, including reading the video
    warning: Optional[str] = None  # what the user should know about the clip
    trace: Optional[List[TraceStep]] = None  # every evaluated exit, if asked for

    def as_json(self) -> Dict[str, Any]:
        """Plain values for one line of JSON; the trace, made of arrays, is left out."""
        result = {k: v for k, v in self._asdict().items() if k != "trace"}
        result["frames"] = [dict(frame._asdict()) for frame in self.frames]
        return result


def no_frame(request: ClipRequest) -> InputError:
    """For a video whose frames end before the first one."""
    return InputError(request.source, "it gave no frame", "give one that has some")
