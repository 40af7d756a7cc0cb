"""Labelled clips for training and evaluation: decoded as on the device, augmented where a model learns from them.

All randomness is derived from (seed, epoch, number of the entry): every process makes the same example.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from torchvision.transforms import RandomResizedCrop, v2
from tqdm import tqdm

from tlee.data.clip import Clip
from tlee.data.clips import open_clip
from tlee.data.labelled.listing import Entry, Listing
from tlee.data.pictures import cv2_module
from tlee.data.sampling import sampled_order
from tlee.errors import InputError, UsageError
from tlee.frames import PUBLISHED, FrameSpec, prepare, resized, sample_indices

ASPECTS = [3 / 4, 4 / 3]  # of random crops, width to height
READABLE = -1
PR_SET_PDEATHSIG = 1  # of Linux
NO_PROCESSES = (
    "give this system a /dev/shm of a megabyte (docker run --shm-size 64m), memory and open files, or decode without "
    "(--workers 0; in a training --set data.workers=0)"
)
Key = tuple[int, int]  # epoch and number of the entry
Share = Annotated[float, Field(gt=0, lt=1)]


class AugmentConfig(BaseModel):
    """Augmentation of training videos, the same for all frames of a clip. Not used in validation.

    Attributes:
        jitter: take each frame from anywhere in its part of the video instead of the part's middle; None for yes,
            unless `frames.sampling` is published.
        crop: smallest and largest share of the picture's area that a random crop keeps; None for the centre crop.
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


class Batch(NamedTuple):
    """Several examples."""

    frames: Tensor  # (N, T, H, W, 3) uint8 RGB, in processing order
    targets: Tensor  # (N, K) float32: a video's labels share 1. All 0 where a clip could not be read for evaluation
    entry: Tensor  # (N,) int64, numbers of the entries
    unreadable: Tensor  # (N,) int64, the number of an entry that could not be read, or -1

    def __reduce__(self) -> Any:
        # Workers send batches through a pipe. Tensors would go through shared memory, of which containers have little:
        # a process that runs out of it is killed or hangs, and every tensor there takes an open file.
        return _batch, tuple(tensor.numpy() for tensor in self)


def _batch(*arrays: np.ndarray) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


class RandomRegion:
    """A region of a clip's pictures, drawn when the first one comes: all have it alike.

    Args:
        areas: smallest and largest share of a picture.
    """

    def __init__(self, areas: tuple[float, float]) -> None:
        self._areas = areas
        self._region: tuple[slice, slice] | None = None

    def of(self, picture: np.ndarray) -> np.ndarray:
        """The region of a picture, (h, w, 3)."""
        if self._region is None:
            shape = torch.empty((3, *picture.shape[:2]), device="meta")
            top, left, height, width = RandomResizedCrop.get_params(shape, list(self._areas), ASPECTS)
            self._region = slice(top, top + height), slice(left, left + width)
        return picture[self._region]


class ClipDataset(Dataset):
    """The videos of a listing. Items are taken by (epoch, number of the entry), and are those of a `Batch`.

    An entry that cannot be read is named in `unreadable`. In training the next readable one takes its place, so that
    all processes have batches of one size.

    Args:
        listing: which videos.
        spec: the frames to read.
        augment: how to vary them; None for evaluation.
        seed: of the augmentation.
        cache: keep frames in memory: a clip's T, or all of its frames with jitter.
    """

    def __init__(
        self,
        listing: Listing,
        spec: FrameSpec,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        self.listing, self.spec, self.augment = listing, spec, augment
        self._seed, self._single = seed, False
        # Per clip: number of its frames, indices of those read without jitter, and prepared frames by index.
        self._cache: dict[int, tuple[int, list[int], dict[int, np.ndarray]]] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.listing.entries)

    @property
    def jitters(self) -> bool:
        """Whether frames come from anywhere in their parts of the video."""
        if self.augment is None:
            return False
        return self.spec.sampling != PUBLISHED if self.augment.jitter is None else self.augment.jitter

    def single_frames(self) -> ClipDataset:
        """The same videos (and cache), each as one of its T frames, drawn anew in every epoch."""
        clips = copy.copy(self)
        clips._single = True
        return clips

    def problem(self, index: int) -> InputError:
        """Why an entry cannot be read."""
        try:
            self._read(index, list(range(self.spec.length)))
        except InputError as error:
            return error
        return InputError(self.listing.entries[index].path, "cannot be read every time", "check its disk")

    def __getitem__(self, key: Key) -> Batch:
        epoch, index = key
        size = self.spec.crop
        frames = torch.zeros((1 if self._single else self.spec.length, size, size, 3), dtype=torch.uint8)
        target = torch.zeros(len(self.listing.classes))
        unreadable = READABLE
        for number in range(index, index + (len(self) if self.augment else 1)):
            try:
                frames = self._example(epoch, number % len(self))
            except InputError:
                unreadable = index
                continue
            labels = list(self.listing.entries[number % len(self)].labels)
            target[labels] = 1 / len(labels)
            break
        return Batch(frames, target, torch.tensor(index), torch.tensor(unreadable))

    def _example(self, epoch: int, index: int) -> Tensor:
        taken, augment = list(range(self.spec.length)), self.augment
        if augment is None:
            return torch.from_numpy(self._read(index, taken))
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone: torch.manual_seed formats a traceback for GPUs to come, at every call.
            torch.default_generator.manual_seed(derived_seed(self._seed, epoch, index))
            offsets = torch.rand(len(taken)).tolist() if self.jitters else None
            if self._single:
                taken = [int(torch.randint(len(taken), ()))]
            frames = torch.from_numpy(self._read(index, taken, offsets, augment.crop))
            if (self.listing.flips if augment.flip is None else augment.flip) and torch.rand(()) < 0.5:
                frames = frames.flip(2)
            if augment.colour:
                vary = v2.ColorJitter(augment.colour, augment.colour, augment.colour)
                frames = vary(frames.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return frames.contiguous()

    def _read(
        self, index: int, taken: list[int], offsets: list[float] | None = None, crop: tuple[float, float] | None = None
    ) -> np.ndarray:
        """Frames of an entry's T, `taken` by their place in processing order: (taken, crop, crop, 3) uint8. Raises
        InputError."""
        entry = self.listing.entries[index]
        if self._cache is not None:
            if index not in self._cache:
                # All frames at once: opening a file costs more than decoding a small one.
                with open_clip(str(entry.path), _threads()) as clip:
                    ordered = sampled_order(clip, self.spec, entry.frames)
                    wanted = list(range(clip.frame_count)) if self.jitters else ordered
                    self._cache[index] = clip.frame_count, ordered, self._decode(clip, wanted)
            frame_count, ordered, frames = self._cache[index]
            if offsets:
                ordered = self._jittered(frame_count, offsets)
            return np.stack([frames[ordered[i]] for i in taken])
        with open_clip(str(entry.path), _threads()) as clip:
            if offsets:
                ordered = self._jittered(clip.frame_count, offsets)
            else:
                ordered = sampled_order(clip, self.spec, entry.frames)
            wanted = [ordered[i] for i in taken]
            frames = self._decode(clip, wanted, RandomRegion(crop) if crop else None)
        return np.stack([frames[i] for i in wanted])

    def _jittered(self, frame_count: int, offsets: list[float]) -> list[int]:
        sampled = sample_indices(frame_count, self.spec.length, offsets)
        return [sampled[i] for i in self.spec.order]

    def _decode(self, clip: Clip, wanted: list[int], region: RandomRegion | None = None) -> dict[int, np.ndarray]:
        """Prepared frames by index: the centre, or a region of the picture."""
        spec, indices = self.spec, sorted(set(wanted))

        def prepared(picture: np.ndarray) -> np.ndarray:
            if region is None:
                return prepare(picture, spec)
            return resized(region.of(picture), (spec.crop, spec.crop), spec.interpolation)

        return dict(zip(indices, clip.frames(indices, prepared)))


class ShuffledSampler(Sampler[list[Key]]):
    """One process's part of every step's videos, in an order that seed and epoch fix for any number of processes.

    Args:
        total: number of entries.
        batch: videos per step, over all processes; those left over at an epoch's end are not used.
        accumulate: parts that a process computes its share in; each is one item.
        seed: of the order.
        rank, world: number of this process, and of processes.
    """

    def __init__(self, total: int, batch: int, accumulate: int, seed: int, rank: int, world: int) -> None:
        self.steps = total // batch
        self._total, self._batch, self._part, self._seed = total, batch, batch // accumulate, seed
        self._rank, self._world = rank, world
        self.seek(0, 0)

    def seek(self, epoch: int, step: int) -> None:
        """Start the next iteration at a step of an epoch."""
        self._epoch, self._step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self._step) * self._batch // self._part

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, self._epoch))
        order = torch.randperm(self._total, generator=generator)[: self.steps * self._batch]
        for part in order[self._step * self._batch :].split(self._part):
            yield [(self._epoch, int(i)) for i in part[self._rank :: self._world]]


class ClipLoader(DataLoader):
    """A data loader of clips that reports what the system lacks.

    Raises:
        UsageError: when iterated, its processes cannot be started.
    """

    def __init__(self, clips: ClipDataset, workers: int, **options: Any) -> None:
        super().__init__(clips, num_workers=workers, collate_fn=_collate, worker_init_fn=start_worker, **options)

    def __iter__(self) -> Any:
        try:
            return super().__iter__()
        except OSError as error:
            reason = error.strerror if error.errno else "no room for a lock"  # Python's own: "Error"
            raise UsageError("processes that decode", f"cannot be started ({reason})", NO_PROCESSES) from None


def training_batches(clips: ClipDataset, sampler: ShuffledSampler, workers: int) -> ClipLoader:
    """Batches of one process's parts of the steps; workers live on from epoch to epoch."""
    pinned = torch.cuda.is_available()
    return ClipLoader(clips, workers, batch_sampler=sampler, persistent_workers=workers > 0, pin_memory=pinned)


def evaluation_batches(clips: ClipDataset, batch: int, workers: int, rank: int = 0, world: int = 1) -> ClipLoader:
    """Every video once, in the listing's order; of several processes each takes its part."""
    return ClipLoader(clips, workers, batch_size=batch, sampler=[(0, i) for i in range(rank, len(clips), world)])


def _collate(items: list[Batch]) -> Batch:
    return Batch(*map(torch.stack, zip(*items)))


def readable_batches(
    clips: ClipDataset, unreadable: dict[Path, InputError], batch: int = 8, workers: int = 0, task: str = "videos"
) -> Iterator[tuple[list[Entry], Tensor]]:
    """Every readable video in the listing's order: entries, and their frames, (n, T, H, W, 3) uint8.

    The others are added to `unreadable`. `batch` videos are held at once, decoded by `workers` processes (0 for this
    one), under a progress bar named `task`.
    """
    with tqdm(total=len(clips), desc=task, disable=None, leave=False) as progress:
        for frames, targets, entry, _ in evaluation_batches(clips, batch, workers):
            readable = (targets > 0).any(1)
            for i in entry[~readable].tolist():
                unreadable[clips.listing.entries[i].path] = clips.problem(i)
            yield [clips.listing.entries[i] for i in entry[readable].tolist()], frames[readable]
            progress.update(len(entry))


def _threads() -> int | None:
    """That decode a video: one where there is a process for every core."""
    return 1 if get_worker_info() else None


def start_worker(worker: int) -> None:
    """Set up a process that decodes: one thread, since there is a worker for every core; Ctrl-C is the parent's; the
    worker exits if a batch cannot be sent, since the parent would wait for it, and when the parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it would wait forever to deliver its batches
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: os._exit(1))  # type: ignore[attr-defined]
    cv2_module().setNumThreads(0)


def derived_seed(*numbers: int) -> int:
    """One seed from several numbers.

    Examples:
        >>> derived_seed(0, 1) != derived_seed(1, 0)
        True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
