"""How training videos vary: alike for all frames of a clip, and fixed by the numbers that a generator draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tlee.data.pictures import cv2_module
from tlee.frames import LONG, FrameSpec, resized, sample_indices

ASPECTS = (3 / 4, 4 / 3)  # of random crops, width to height
PLACES = 3  # in each part of a video that jitter chooses from: all of them can be kept in memory
LUMA = np.array([0.299, 0.587, 0.114])  # of RGB, ITU-R BT.601
Share = Annotated[float, Field(gt=0, lt=1)]


class AugmentConfig(BaseModel):
    """Augmentation of training videos, the same for all frames of a clip. Not used in validation.

    Attributes:
        jitter: take each frame from anywhere in its part of the video instead of the part's middle, of a long one from
            one of three places; None for yes, unless `frames.sampling` is published.
        crop: smallest and largest share that a random crop keeps of the picture at `frames.resize`; None for the centre
            crop.
        flip: mirror half of the clips; None for yes if the data set allows it.
        colour: how far brightness, contrast and saturation vary, as a share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    jitter: bool | None = None
    crop: tuple[Share, Annotated[float, Field(gt=0, le=1)]] | None = None
    flip: bool | None = None
    colour: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _rises(self) -> AugmentConfig:
        if self.crop and self.crop[0] > self.crop[1]:
            raise ValueError(f"crop {list(self.crop)} does not rise")
        return self


class Region(NamedTuple):
    """A region of a picture, whatever the picture's size."""

    area: float  # share of the picture
    aspect: float  # width to height
    top: float  # share of the height that is left over
    left: float  # share of the width that is left over

    def of(self, picture: np.ndarray) -> np.ndarray:
        """The region of a picture, (h, w, 3)."""
        height, width = picture.shape[:2]
        area = self.area * height * width
        h = min(height, max(1, round(math.sqrt(area / self.aspect))))
        w = min(width, max(1, round(math.sqrt(area * self.aspect))))
        top, left = int(self.top * (height - h + 1)), int(self.left * (width - w + 1))
        return picture[top : top + h, left : left + w]


class Variation(NamedTuple):
    """How an example departs from what evaluation sees of the clip."""

    offsets: list[float] | None  # of each of T frames in its part of the video, from 0 up to but without 1
    single: int | None  # the only frame taken, by its place in processing order
    region: Region | None
    mirrored: bool
    colour: tuple[float, float, float] | None  # factors of brightness, contrast and saturation


def drawn(
    augment: AugmentConfig, generator: torch.Generator, length: int, jitters: bool, flips: bool, single: bool
) -> Variation:
    """Draw a variation for a clip of `length` frames. The random numbers of the process are left alone."""

    def uniform(low: float = 0.0, high: float = 1.0) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float32))

    # The data types are said: a thread draws while double precision may be the default of the one that trains.
    offsets = torch.rand(length, generator=generator, dtype=torch.float32).tolist() if jitters else None
    only = int(torch.randint(length, (), generator=generator)) if single else None
    region = None
    if augment.crop:
        aspect = math.exp(uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        region = Region(uniform(*augment.crop), aspect, uniform(), uniform())
    mirrored = flips and uniform() < 0.5
    spread = 1 - augment.colour, 1 + augment.colour
    colour = (uniform(*spread), uniform(*spread), uniform(*spread)) if augment.colour else None
    return Variation(offsets, only, region, mirrored, colour)


def jittered(frame_count: int, offsets: Sequence[float]) -> list[int]:
    """The frames at these offsets in their parts of a video, of a long one the nearest of `PLACES` in each part.

    Examples:
        >>> jittered(8, [0.1, 0.6]), jittered(100, [0.1, 0.6])
        ([0, 6], [8, 75])
    """
    count = len(offsets)
    if frame_count > PLACES * count:
        offsets = [(int(PLACES * offset) + 0.5) / PLACES for offset in offsets]
    return sample_indices(frame_count, count, offsets)


def jitter_range(frame_count: int, count: int) -> list[int]:
    """Every frame that `jittered` may choose, rising.

    Examples:
        >>> jitter_range(4, 2), jitter_range(100, 2)
        ([0, 1, 2, 3], [8, 25, 41, 58, 75, 91])
    """
    if frame_count <= PLACES * count:
        return list(range(frame_count))
    return sorted({i for place in range(PLACES) for i in jittered(frame_count, [place / PLACES] * count)})


def shrunk(picture: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """What random crops are taken of: (h, w, 3) uint8 with a short side of at most `spec.resize`. Of strips the
    middle."""
    cv2_module()
    short, middle = min(picture.shape[:2]), LONG * min(picture.shape[:2])
    top, left = (max(0, (side - middle) // 2) for side in picture.shape[:2])
    picture = picture[top : top + middle, left : left + middle]
    scale = min(1.0, spec.resize / short)
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return np.ascontiguousarray(resized(picture, (width, height), spec.interpolation))


def varied(pictures: Sequence[np.ndarray], spec: FrameSpec, variation: Variation) -> np.ndarray:
    """A clip's pictures, varied: (n, crop, crop, 3) uint8.

    Args:
        pictures: prepared ones, or for a variation with a region those of `shrunk`.
    """
    cv2, size = cv2_module(), spec.crop
    frames = np.empty((len(pictures), size, size, 3), np.uint8)
    for frame, picture in zip(frames, pictures):
        if variation.region:
            picture = resized(variation.region.of(picture), (size, size), spec.interpolation)
        if variation.mirrored:
            cv2.flip(picture, 1, dst=frame)
        else:
            frame[:] = picture
    if variation.colour:
        flat = frames.reshape(-1, size, 3)
        cv2.transform(flat, _colours(*variation.colour, float(LUMA @ cv2.mean(flat)[:3])), dst=flat)
    return frames


def _colours(brightness: float, contrast: float, saturation: float, grey: float) -> np.ndarray:
    """Brightness, contrast around the clip's mean `grey`, then saturation: one (3, 4) matrix for (R, G, B, 1)."""
    scale = brightness * contrast
    mixed = scale * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    return np.column_stack([mixed, np.full(3, (1 - contrast) * brightness * grey)])
