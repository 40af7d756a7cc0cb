"""Which pictures of a clip a model reads, and in which order."""

from typing import List, Optional

from tlee.data.clip import Clip
from tlee.frames import PUBLISHED, FrameSpec, published_numbers, sample_indices


def sampled_order(clip: Clip, spec: FrameSpec) -> List[int]:
    """Indices of the frames that a model reads of a clip, in processing order."""
    sampled = sampled_indices(clip, spec)
    return [sampled[i] for i in spec.order]


def sampled_indices(clip: Clip, spec: FrameSpec, stated: Optional[int] = None) -> List[int]:
    """As `sampled_order`, in the order of the video. The published sampling takes the number of frames from the list of
    videos, where that has it `stated`."""
    if spec.sampling != PUBLISHED:
        return sample_indices(clip.frame_count, spec.length)
    return [clip.index_of(number) for number in published_numbers(stated or clip.frame_count, spec.length)]
