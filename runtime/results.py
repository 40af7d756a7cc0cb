"""What recognising a video gives: small named results, and their JSON form."""

import time
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from tlee.bundle import Bundle
from tlee.costs import Costs, frame_ends
from tlee.errors import InputError
from tlee.inference import Step
from tlee.policy import Action
from tlee.runtime.clips import ClipRequest

ENDED = "its frames end after {} of {}: the last one answers; give all for the full accuracy"


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
    milliseconds: float  # computing, by the clock of what computes; of several videos at once, of all of them


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
    milliseconds: float  # all that the answer took, with reading the video
    warning: Optional[str] = None  # what the user should know of the clip
    trace: Optional[List[TraceStep]] = None  # every evaluated exit, where that was asked for

    def as_json(self) -> Dict[str, Any]:
        """Plain values for one line of JSON; the trace, made of arrays, is left out."""
        result = {k: v for k, v in self._asdict().items() if k != "trace"}
        result["frames"] = [dict(frame._asdict()) for frame in self.frames]
        return result


class Steps:
    """The steps of one video on its way, and how long they took."""

    def __init__(self) -> None:
        self.steps: List[Step] = []
        self.milliseconds: List[float] = []  # since the frame began
        self.trace: List[TraceStep] = []

    def add(self, step: Step, milliseconds: float) -> None:
        self.steps.append(step)
        self.milliseconds.append(milliseconds)


class Reporter:
    """Makes results of steps, for one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.labels
        self._costs = Costs.of_bundle(bundle)
        self._full_macs = self._costs.full(bundle.frames.length)
        self._length = bundle.frames.length

    def result(self, request: ClipRequest, done: Steps, logits: np.ndarray) -> Result:
        """The answer of a video whose last step has just come, with that one's logits, (K,)."""
        last, best = done.steps[-1], int(logits.argmax())
        macs = self._costs.spent(done.steps)
        return Result(
            source=request.source,
            label=self._labels[best],
            class_index=best,
            confidence=last.values.confidence,
            exit_frame=last.frame,
            exit_layer=last.exit,
            reason=last.decision.reason.value,
            frames=[_frame(request, done.steps[i], done.milliseconds[i]) for i in frame_ends(done.steps)],
            macs=macs,
            share=macs / float(self._full_macs),
            milliseconds=1000 * (time.perf_counter() - request.start),
            warning=self._warning(request, last),
            trace=done.trace or None,
        )

    def _warning(self, request: ClipRequest, last: Step) -> Optional[str]:
        ended = last.decision.action is not Action.VIDEO_DONE
        notes = [request.warning] if request.warning else []
        notes += [ENDED.format(last.frame + 1, self._length)] if ended else []
        return "; ".join(notes) or None


def no_frame(request: ClipRequest) -> InputError:
    """The error of a video whose frames end before the first one."""
    return InputError(request.source, "it gave no frame", "give one that has some")


def _frame(request: ClipRequest, step: Step, milliseconds: float) -> Frame:
    reason = step.decision.reason.value
    index = request.indices[step.frame] if step.frame < len(request.indices) else step.frame
    return Frame(index, step.exit, reason, step.values.confidence, milliseconds)
