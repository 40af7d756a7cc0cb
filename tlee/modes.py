"""The modes that are compared, and their policies."""

from typing import Dict, List

from tlee.policy import ExitPolicy, RandomExit, Thresholds, exit_policy

EARLY = "early exits"
LAYER = "layer exit only"
FRAME = "frame exit only"
RANDOM = "random exit"
NONE = "no exit"
PLAIN = "plain backbone"

MODES = {
    EARLY: "The exit rule with its thresholds: a frame may leave at a branch, the video may stop at a frame.",
    LAYER: "Frames leave at a branch as above, but every frame is used; the last one answers at its first exit.",
    FRAME: "Every frame runs to the tail alone; the first frame's confidence or the gate stops the video.",
    RANDOM: "Every exit stops the video, and if not, ends the frame, each with probability one half.",
    NONE: "Every frame runs to the tail alone, reusing features; the last one answers.",
    PLAIN: "Every frame runs to the tail alone, reusing nothing; the mean of the frames' class probabilities answers.",
}


def policies(gate: str, frames: int, thresholds: Thresholds) -> Dict[str, ExitPolicy]:
    """The policies of all modes with early exits."""
    tail = len(thresholds.layer) - 1
    return {
        EARLY: exit_policy(gate, frames, thresholds),
        LAYER: ExitPolicy(frames, thresholds, frame_exit=False),
        FRAME: ExitPolicy(frames, thresholds, only=tail),
        RANDOM: RandomExit(frames, thresholds, seed=0),
    }


def fixed_exits(frames: int, thresholds: Thresholds) -> List[ExitPolicy]:
    """For each exit the policy under which all frames leave there, no other exit evaluated; the tail's is NONE."""
    return [ExitPolicy(frames, thresholds, frame_exit=False, only=b) for b in range(len(thresholds.layer))]
