"""The exit policy: when a frame leaves the backbone and when a video stops.

The one implementation of the rule, for one video and (`decide_arrays`) for many settings at once. It knows numbers
only: no tensors, no model, no clock.
Source: the inference procedure of the published TLEE code.
"""

import enum
import math
import random
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

from tlee.errors import UsageError

NEVER = 2.0  # a threshold that no probability reaches
Threshold = Union[float, Sequence[float]]


class Action(enum.Enum):
    """What happens after an exit has answered."""

    CONTINUE = "continue"  # the frame goes on to the next exit
    FRAME_DONE = "frame done"  # the next frame comes
    VIDEO_DONE = "video done"  # this exit's answer is the video's


class Reason(enum.Enum):
    """Why an exit was taken."""

    NONE = "none"
    FIRST_FRAME = "first frame confident"
    GATE = "gate"
    LAST_FRAME = "last frame"
    CONFIDENT = "layer confident"
    LAST_EXIT = "last exit"
    RANDOM = "random"


class Decision(NamedTuple):
    """The rule's answer to one exit's values, and the reason."""

    action: Action
    reason: Reason


GO_ON = Decision(Action.CONTINUE, Reason.NONE)


class Thresholds(NamedTuple):
    """The thresholds of the exit rule, per exit, branches first, the tail last.

    Attributes:
        first: a video stops in its first frame when the confidence is above.
        layer: a frame leaves when the confidence is above. A value of 1 or more never lets it leave.
        gate: a video stops in a later frame when the gate's score is at least this.
        temperature: logits are divided by it before softmax gives the confidence. Source: Guo et al., "On calibration
            of modern neural networks", 2017.
    """

    first: List[float]
    layer: List[float]
    gate: List[float]
    temperature: List[float]

    @classmethod
    def of(
        cls, exits: int, first: Threshold, layer: Threshold, gate: Threshold = 0.5, temperature: Threshold = 1.0
    ) -> "Thresholds":
        """Thresholds for `exits` exits; a single number holds for all of them.

        Raises:
            UsageError: a list of the wrong length, a value that is not a finite number, or a temperature not above 0.

        Examples:
            >>> Thresholds.of(3, first=0.9, layer=[0.5, 0.6, 0.7]).layer
            [0.5, 0.6, 0.7]
        """
        found: Dict[str, List[float]] = {}
        for name, given in (("first", first), ("layer", layer), ("gate", gate), ("temperature", temperature)):
            values = found[name] = [float(v) for v in (given if isinstance(given, Sequence) else [given] * exits)]
            if len(values) != exits or not all(map(math.isfinite, values)):
                remedy = f"give one finite number, or {exits}: branches first, the tail last"
                raise UsageError(f"{name} thresholds", f"{values} given for {exits} exits", remedy)
        if min(found["temperature"]) <= 0:
            raise UsageError("temperature", f"{found['temperature']} is not above 0", "give positive numbers")
        return cls(**found)

    @classmethod
    def never(cls, exits: int, temperature: Threshold = 1.0) -> "Thresholds":
        """Thresholds under which every exit of every frame is evaluated."""
        return cls.of(exits, NEVER, NEVER, NEVER, temperature)

    def as_dict(self) -> Dict[str, List[float]]:
        """Plain values, as the manifest has them."""
        return dict(self._asdict())


class ExitPolicy:
    """Decides, from one exit's confidence and gate score, whether to go on.

    Args:
        frames: frames a video may use (T).
        thresholds: one value per exit; their number is the number of exits (B + 1).
        frame_exit: whether the video may stop before its last frame; without it the gate is not read.
        only: the one exit that is evaluated, and that every frame leaves at; None for all in turn.

    Raises:
        UsageError: there is no exit `only`.

    Examples:
        >>> policy = ExitPolicy(10, Thresholds.of(4, first=0.9, layer=0.7))
        >>> policy.decide(frame=0, exit=0, confidence=0.8).action
        <Action.FRAME_DONE: 'frame done'>
        >>> policy.decide(frame=3, exit=1, confidence=0.2, score=0.6).reason
        <Reason.GATE: 'gate'>
        >>> layer_exit_only = ExitPolicy(10, policy.thresholds, frame_exit=False)
        >>> frame_exit_only = ExitPolicy(10, policy.thresholds, only=3)
        >>> always_the_second_branch = ExitPolicy(10, policy.thresholds, frame_exit=False, only=1)
    """

    def __init__(
        self, frames: int, thresholds: Thresholds, frame_exit: bool = True, only: Optional[int] = None
    ) -> None:
        self.frames, self.exits, self.thresholds = frames, len(thresholds.layer), thresholds
        self.frame_exit, self.only = frame_exit, only
        if only is not None and not 0 <= only < self.exits:
            raise UsageError("exit policy", f"there is no exit {only}", f"use 0 to {self.exits - 1}")

    def of_video(self) -> "ExitPolicy":
        """The policy of one video, the next one."""
        return self

    def evaluates(self, exit: int) -> bool:
        """Whether this exit answers at all."""
        return self.only is None or exit == self.only

    def reads_gate(self, frame: int) -> bool:
        """Whether the rule looks at the gate's score in this frame."""
        return self.frame_exit and 0 < frame < self.frames - 1

    def decide(self, frame: int, exit: int, confidence: float, score: Optional[float] = None) -> Decision:
        """What to do after an exit that is evaluated.

        Args:
            frame, exit: which one, both from 0, frames in processing order.
            confidence: of the exit's answer, 0 to 1.
            score: of the gate, 0 to 1; None where it was not read.
        """
        if frame == self.frames - 1:
            return Decision(Action.VIDEO_DONE, Reason.LAST_FRAME)
        if self.frame_exit:
            if frame == 0 and confidence > self.thresholds.first[exit]:
                return Decision(Action.VIDEO_DONE, Reason.FIRST_FRAME)
            if frame > 0 and score is not None and score >= self.thresholds.gate[exit]:
                return Decision(Action.VIDEO_DONE, Reason.GATE)
        if self.only is None and confidence > self.thresholds.layer[exit]:
            return Decision(Action.FRAME_DONE, Reason.CONFIDENT)
        return Decision(Action.FRAME_DONE, Reason.LAST_EXIT) if exit in (self.only, self.exits - 1) else GO_ON


def decide_arrays(
    frame: int, frames: int, exit: int, exits: int, confidence: Any, score: Any, first: Any, layer: Any, gate: Any
) -> Tuple[Any, Any]:
    """`ExitPolicy.decide` for many answers or many thresholds at once, with all exits in use: whether the video is
    done, and whether the frame is.

    Args:
        confidence, score: of the exit's answer; a score is NaN where it was not read.
        first, layer, gate: thresholds of this exit. All five are numbers or NumPy arrays that broadcast.
    """
    gated = (frame > 0) & (score >= gate)
    video_done = (frame == frames - 1) | ((frame == 0) & (confidence > first)) | gated
    return video_done, video_done | (confidence > layer) | (exit == exits - 1)


class RandomExit(ExitPolicy):
    """The ablation baseline, gate `random`: before the last frame every exit stops the video, or else ends the frame,
    each with probability one half. Reads no confidence and no gate. From `seed` each video has a generator of its own,
    so a sequence of videos takes the same exits, also when several are recognised at once."""

    def __init__(self, frames: int, thresholds: Thresholds, seed: float = 0) -> None:
        super().__init__(frames, thresholds)
        self._seeds, self._random = random.Random(seed), random.Random(seed)

    def of_video(self) -> "RandomExit":
        return RandomExit(self.frames, self.thresholds, self._seeds.random())

    def reads_gate(self, frame: int) -> bool:
        return False

    def decide(self, frame: int, exit: int, confidence: float, score: Optional[float] = None) -> Decision:
        otherwise = super().decide(frame, exit, -math.inf)  # at the last frame and the last exit
        if otherwise.action is Action.VIDEO_DONE:
            return otherwise
        stop_video, end_frame = self._random.random() < 0.5, self._random.random() < 0.5
        if stop_video:
            return Decision(Action.VIDEO_DONE, Reason.RANDOM)
        return Decision(Action.FRAME_DONE, Reason.RANDOM) if end_frame else otherwise


def exit_policy(gate: str, frames: int, thresholds: Thresholds, early_exit: bool = True) -> ExitPolicy:
    """The policy of a model with this kind of gate, named as in the manifest; without early exit, every frame to the
    tail. `frames` as of `ExitPolicy`."""
    if not early_exit:
        return ExitPolicy(frames, thresholds, frame_exit=False, only=len(thresholds.layer) - 1)
    return RandomExit(frames, thresholds) if gate == "random" else ExitPolicy(frames, thresholds)
