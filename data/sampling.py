"""Which pictures of a clip a model reads, and in which order."""

import argparse
from typing import List, Optional

import numpy as np

from tlee.data.clip import Clip
from tlee.frames import (
    KEYFRAMES,
    PUBLISHED,
    SAMPLINGS,
    FrameSpec,
    equal_parts,
    published_numbers,
    sample_indices,
)


def add_sampling_option(parser: argparse.ArgumentParser) -> None:
    """The option of commands that read videos with a bundle, for `Bundle.sampled`."""
    parser.add_argument("--sampling", choices=SAMPLINGS, help="which frames of a video are read (as trained)")


def sampled_order(clip: Clip, spec: FrameSpec, stated: Optional[int] = None) -> List[int]:
    """Indices of the frames that a model reads of a clip, in processing order. If that may be any, those that cost
    little come first, with sampling by key frames.

    Args:
        stated: number of frames by the list of videos, from which the published sampling takes it.
    """
    sampled, order = sampled_indices(clip, spec, stated), spec.order
    if spec.sampling == KEYFRAMES and spec.any_order:
        order = _cheapest_first(order, clip.depths()[sampled].tolist())
    return [sampled[i] for i in order]


def sampled_indices(clip: Clip, spec: FrameSpec, stated: Optional[int] = None) -> List[int]:
    """As `sampled_order`, in the order of the video."""
    if spec.sampling == PUBLISHED:
        return [clip.index_of(number) for number in published_numbers(stated or clip.frame_count, spec.length)]
    uniform = sample_indices(clip.frame_count, spec.length)
    if spec.sampling != KEYFRAMES or clip.frame_count < spec.length:
        return uniform
    depths = clip.depths()
    return [_cheapest(depths, *part, middle) for part, middle in zip(equal_parts(len(depths), spec.length), uniform)]


def _cheapest_first(order: List[int], depths: List[int]) -> List[int]:
    """Parts of a video by their `depths`. Those that cost the same come spread as in the model's order: for each part
    there the nearest one that is left."""
    found: List[int] = []
    for depth in sorted(set(depths)):
        left = [i for i, own in enumerate(depths) if own == depth]
        for wanted in order[: len(left)]:
            found.append(min(left, key=lambda i: abs(i - wanted)))
            left.remove(found[-1])
    return found


def _cheapest(depths: np.ndarray, first: int, end: int, middle: int) -> int:
    """The picture of a part with the least decoded to reach it, of several the one nearest to the part's middle."""
    part = depths[first:end]
    found = first + np.flatnonzero(part == part.min())
    return int(found[np.abs(found - middle).argmin()])
