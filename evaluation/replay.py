"""Many runs of the exit rule through one clip: a bundle's chain that computes each frame's features once.

The values are those of the plain chain: the same segments ran on the same inputs, only not again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.runtime.backend import Backend
from tlee.runtime.chain import Chain


class RepeatingChain(Chain):
    """The plain chain: every run computes everything anew."""

    def frames_of(self, clip: np.ndarray) -> Any:
        """The frames to run through for a clip (T, H, W, 3), until the next clip is given."""
        return clip

    def first_state(self) -> list[list[Any]]:
        """The splits' state before a video's first frame."""
        return list(self._zeros)

    def state(self) -> list[list[Any]]:
        """A copy of the splits' state; empty for most backbones."""
        return [[self.kept(value) for value in values] for values in self._state]

    def resume(self, state: list[list[Any]]) -> None:
        """Continue from a copied state."""
        self._state = list(state)


class ReplayingChain(RepeatingChain):
    """Frames, and the outputs of splits, are frame numbers; features are kept for further runs through the clip."""

    _features_of_frame: dict[int, list[Any]]  # of each exit
    _clip: np.ndarray | None = None

    def frames_of(self, clip: np.ndarray) -> Any:
        if clip is not self._clip:
            self._clip, self._features_of_frame = clip, {}
        return range(len(clip))

    def load(self, frame: Any) -> Any:
        return frame

    def split(self, index: int, x: Any) -> Any:
        return x

    def feature(self, index: int, x: Any) -> Any:
        if x not in self._features_of_frame:
            assert self._clip is not None
            value, features = super().load(self._clip[x]), []
            for b in range(len(self._splits)):
                value = super().split(b, value)
                features.append(self.kept(super().feature(b, value)))
            self._features_of_frame[x] = features
        return self._features_of_frame[x][index]


def replaying_chain(bundle: Bundle, backend: Backend) -> RepeatingChain:
    """The chain for many runs. With a temporal shift, features depend on where earlier frames left: nothing is kept."""
    shifts = any(segment.state for segment in bundle.segments.values())
    return (RepeatingChain if shifts else ReplayingChain)(bundle, backend)
