"""Many walks through one clip: a bundle's chain that computes each frame's features once.

The values are those of the plain chain: the same segments ran on the same inputs, only not again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.runtime.chain import Chain


class RepeatingChain(Chain):
    """The plain chain: everything is computed anew for each walk."""

    def frames_of(self, clip: np.ndarray) -> Any:
        """What to walk through, for a clip (T, H, W, 3); until the next clip is given."""
        return clip

    def first_state(self) -> list[list[Any]]:
        """That of a video's first frame."""
        return list(self._zeros)

    def state(self) -> list[list[Any]]:
        """A copy of what the splits hand from frame to frame; nothing for most backbones."""
        return [[self.kept(value) for value in values] for values in self._state]

    def resume(self, state: list[list[Any]]) -> None:
        """Go on from a copied state."""
        self._state = list(state)


class ReplayingChain(RepeatingChain):
    """A chain whose frames are numbers, and so is what splits hand on; features are kept for the clip's next walks."""

    _kept: dict[int, list[Any]]  # by frame, the feature of each exit

    _clip: np.ndarray | None = None

    def frames_of(self, clip: np.ndarray) -> Any:
        if clip is not self._clip:
            self._clip, self._kept = clip, {}
        return range(len(clip))

    def load(self, frame: Any) -> Any:
        return frame

    def split(self, index: int, x: Any) -> Any:
        return x

    def feature(self, index: int, x: Any) -> Any:
        if x not in self._kept:
            assert self._clip is not None
            self._kept[x] = self._features_of(self._clip[x])
        return self._kept[x][index]

    def _features_of(self, frame: np.ndarray) -> list[Any]:
        x, features = super().load(frame), []
        for b in range(len(self._splits)):
            x = super().split(b, x)
            features.append(self.kept(super().feature(b, x)))
        return features


def replaying_chain(bundle: Bundle, backend: Any) -> RepeatingChain:
    """The chain for many walks. With a temporal shift, features depend on where earlier frames left: there every walk
    computes its own."""
    shifts = any(segment.state for segment in bundle.segments.values())
    return (RepeatingChain if shifts else ReplayingChain)(bundle, backend)
