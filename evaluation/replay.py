"""Many walks through one clip: a bundle's chain that computes each frame's features once.

The values are those of the plain chain: the same segments ran on the same inputs, only not again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.runtime.chain import Chain


class RepeatingChain(Chain):
    """The plain chain: everything is computed anew for each walk."""

    def frames_of(self, clip: np.ndarray) -> Iterable[Any]:
        """What to walk through, for a clip (T, H, W, 3); until the next clip is given."""
        return clip


class ReplayingChain(RepeatingChain):
    """A chain whose frames are numbers, and so is what splits hand on; features are kept for the clip's next walks."""

    def frames_of(self, clip: np.ndarray) -> Iterable[Any]:
        self._clip = clip
        self._kept: dict[int, list[Any]] = {}  # by frame, the feature of each exit
        return range(len(clip))

    def load(self, frame: Any) -> Any:
        return frame

    def split(self, index: int, x: Any) -> Any:
        return x

    def feature(self, index: int, x: Any) -> Any:
        if x not in self._kept:
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
