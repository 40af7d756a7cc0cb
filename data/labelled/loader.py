"""Labelled videos as examples: decoded and prepared exactly as on the device, varied where a model learns from them.

All chance comes from (seed, epoch, number of the entry), so an example is the same in whichever process it is made.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import RandomResizedCrop, v2
from tqdm import tqdm

from tlee.data.labelled.augmentation import AugmentConfig
from tlee.data.labelled.listing import Entry, Listing
from tlee.data.video import cv2_module, open_clip, sampled_indices
from tlee.errors import InputError, UsageError
from tlee.frames import PUBLISHED, FrameSpec, prepare, resized, sample_indices

ASPECTS = (3 / 4, 4 / 3)  # of random crops, width to height
READABLE = -1
PR_SET_PDEATHSIG = 1  # of Linux
NO_PROCESSES = (
    "give this system a /dev/shm of a megabyte (docker run --shm-size 64m), memory and open files, or decode without "
    "(--workers 0; in a training --set data.workers=0)"
)
Key = tuple[int, int]  # epoch and number of the entry


class Batch(NamedTuple):
    """Several examples.

    Attributes:
        frames: (N, T, H, W, 3) uint8 RGB, in processing order.
        targets: (N, K) float32: a video's labels share 1. All 0 where a clip could not be read for evaluation.
        entry: (N,) int64, numbers of the entries.
        unreadable: (N,) int64, the number of an entry that could not be read, or -1.
    """

    frames: Tensor
    targets: Tensor
    entry: Tensor
    unreadable: Tensor

    def __reduce__(self) -> Any:
        # Through a pipe, not in shared memory as tensors go: containers have little of that, whoever runs out of it is
        # killed or waits for ever, and every tensor there takes an open file.
        return _batch, tuple(tensor.numpy() for tensor in self)


def _batch(*arrays: np.ndarray) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


class Kept(NamedTuple):
    """A clip in memory: how many frames it has, which are sampled without jitter, and the decoded ones by index."""

    total: int
    sampled: list[int]
    pictures: dict[int, np.ndarray]


class Clips(Dataset):
    """The videos of a listing. Items are taken by (epoch, number of the entry), and are those of a `Batch`.

    An entry that cannot be read is named in `unreadable`. In training the next one that can takes its place, so that
    all processes have batches of one size.

    Args:
        listing: which videos.
        spec: the frames to read.
        augment: how to vary them; None for evaluation.
        seed: of the variation.
        cache: keep frames in memory: a clip's T, or all that it has where they are jittered.
    """

    def __init__(
        self,
        listing: Listing,
        spec: FrameSpec,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        cache: bool = False,
    ) -> None:
        self.listing = listing
        self.spec = spec
        self.augment = augment
        self._seed = seed
        self._single = False
        self._kept: dict[int, Kept] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.listing.entries)

    @property
    def jitters(self) -> bool:
        """Whether frames come from anywhere in their parts of the video."""
        if self.augment is None or self.augment.jitter is None:
            return self.augment is not None and self.spec.sampling != PUBLISHED
        return self.augment.jitter

    def single(self) -> Clips:
        """The same videos (and kept frames), each as one of its T frames, drawn anew in every epoch."""
        clips = copy.copy(self)
        clips._single = True
        return clips

    def problem(self, index: int) -> InputError:
        """Why an entry cannot be read."""
        try:
            self._read(index, list(range(self.spec.length)), None, None)
        except InputError as error:
            return error
        return InputError(self.listing.entries[index].path, "cannot be read every time", "check its disk")

    def __getitem__(self, key: Key) -> Batch:
        epoch, index = key
        unreadable = READABLE
        for place in range(index, index + (len(self) if self.augment else 1)):
            try:
                frames = self._example(epoch, place % len(self))
            except InputError:
                unreadable = index if unreadable == READABLE else unreadable
                continue
            return self._item(frames, index, place % len(self), unreadable)
        nothing = np.zeros((1 if self._single else self.spec.length, self.spec.crop, self.spec.crop, 3), np.uint8)
        return self._item(torch.from_numpy(nothing), index, None, unreadable)

    def _item(self, frames: Tensor, index: int, source: int | None, unreadable: int) -> Batch:
        target = torch.zeros(len(self.listing.classes))
        if source is not None:
            labels = list(self.listing.entries[source].labels)
            target[labels] = 1 / len(labels)
        return Batch(frames, target, torch.tensor(index), torch.tensor(unreadable))

    def _example(self, epoch: int, index: int) -> Tensor:
        order = self.spec.order
        if self.augment is None:
            return torch.from_numpy(self._read(index, order, None, None))
        with torch.random.fork_rng(devices=[]):
            # Of the CPU alone: torch.manual_seed formats a traceback for GPUs to come, at every call.
            torch.default_generator.manual_seed(mixed(self._seed, epoch, index))
            places = torch.rand(len(order)).tolist() if self.jitters else None
            if self._single:
                order = [order[int(torch.randint(len(order), ()))]]
            return self._vary(torch.from_numpy(self._read(index, order, places, self.augment.crop)))

    def _vary(self, frames: Tensor) -> Tensor:
        """Flip and colour, the same for all of (T, H, W, 3)."""
        assert self.augment is not None
        colour, flip = self.augment.colour, self.augment.flip
        if (self.listing.flips if flip is None else flip) and torch.rand(()) < 0.5:
            frames = frames.flip(2)
        if colour:
            frames = v2.ColorJitter(colour, colour, colour)(frames.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return frames.contiguous()

    def _read(
        self, index: int, order: list[int], places: list[float] | None, crop: tuple[float, float] | None
    ) -> np.ndarray:
        """Frames `order` of an entry's T, (len(order), crop, crop, 3) uint8. Raises InputError."""
        if self._kept is not None:
            return self._from_memory(index, order, places)
        with open_clip(str(self.listing.entries[index].path)) as clip:
            sampled = self._sampled(clip, index, places)
            wanted = [sampled[i] for i in order]
            region: list[int] | None = None
            if crop:
                shape = torch.empty((3, *clip.frame(min(wanted)).shape[:2]), device="meta")
                region = RandomResizedCrop.get_params(shape, list(crop), list(ASPECTS))
            pictures = self._decode(clip, wanted, region)
        return np.stack([pictures[i] for i in wanted])

    def _from_memory(self, index: int, order: list[int], places: list[float] | None) -> np.ndarray:
        assert self._kept is not None
        if index not in self._kept:
            # All at once: opening a file costs more than decoding a small one.
            with open_clip(str(self.listing.entries[index].path)) as clip:
                sampled = self._sampled(clip, index, None)
                wanted = list(range(clip.frame_count)) if self.jitters else sampled
                self._kept[index] = Kept(clip.frame_count, sampled, self._decode(clip, wanted, None))
        total, sampled, pictures = self._kept[index]
        if places:
            sampled = sample_indices(total, self.spec.length, places)
        return np.stack([pictures[sampled[i]] for i in order])

    def _decode(self, clip: Any, wanted: list[int], region: list[int] | None) -> dict[int, np.ndarray]:
        # Forwards, which is cheapest, since all of them are wanted.
        if region is None:
            return {i: prepare(clip.frame(i), self.spec) for i in sorted(set(wanted))}
        top, left, height, width = region
        rows, columns, size = slice(top, top + height), slice(left, left + width), (self.spec.crop, self.spec.crop)
        how = self.spec.interpolation
        return {i: resized(clip.frame(i)[rows, columns], size, how) for i in sorted(set(wanted))}

    def _sampled(self, clip: Any, index: int, places: list[float] | None) -> list[int]:
        """Indices of an entry's T frames, in the order of the video; `places` where they are jittered."""
        if places:
            return sample_indices(clip.frame_count, self.spec.length, places)
        return sampled_indices(clip, self.spec, self.listing.entries[index].frames)


class Shuffled(Sampler[list[Key]]):
    """One process's part of every step's videos, in an order that seed and epoch fix for any number of processes.

    Args:
        total: number of entries.
        batch: videos per step, over all processes; those left over at an epoch's end are not used.
        accumulate: parts that a process computes its share in; each is one item.
        seed: of the order.
        rank, world: which process, of how many.
    """

    def __init__(self, total: int, batch: int, accumulate: int, seed: int, rank: int, world: int) -> None:
        self.steps = total // batch
        self._total, self._batch, self._part, self._seed = total, batch, batch // accumulate, seed
        self._rank, self._world = rank, world
        self.begin(0, 0)

    def begin(self, epoch: int, step: int) -> None:
        """What the next iteration gives: an epoch from one of its steps on."""
        self._epoch, self._step = epoch, step

    def __len__(self) -> int:
        return (self.steps - self._step) * self._batch // self._part

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(mixed(self._seed, self._epoch))
        order = torch.randperm(self._total, generator=generator)[: self.steps * self._batch]
        for part in order[self._step * self._batch :].split(self._part):
            yield [(self._epoch, int(i)) for i in part[self._rank :: self._world]]


class Batches(DataLoader):
    """A data loader that says what it lacks.

    Raises:
        UsageError: when iterated, its processes cannot be started.
    """

    def __iter__(self) -> Any:
        try:
            return super().__iter__()
        except OSError as error:
            said = error.strerror if error.errno else "no room for a lock"  # Python's own: "Error"
            raise UsageError("processes that decode", f"cannot be started ({said})", NO_PROCESSES) from None


def training_batches(clips: Clips, order: Shuffled, workers: int) -> DataLoader:
    """Batches of one process's parts of the steps; workers live on from epoch to epoch."""
    return Batches(
        clips,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
        worker_init_fn=start_worker,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_batches(clips: Clips, batch: int, workers: int, rank: int = 0, world: int = 1) -> DataLoader:
    """Every video once, in the listing's order; of several processes each takes its part."""
    mine = [(0, i) for i in range(rank, len(clips), world)]
    return Batches(clips, batch, sampler=mine, num_workers=workers, collate_fn=_collate, worker_init_fn=start_worker)


def _collate(items: list[Batch]) -> Batch:
    return Batch(*map(torch.stack, zip(*items)))


def readable_batches(
    clips: Clips, unreadable: dict[Path, InputError], batch: int = 8, workers: int = 0, task: str = "videos"
) -> Iterator[tuple[list[Entry], Tensor]]:
    """Every video that can be read, in the listing's order: entries and their frames, (n, T, H, W, 3) uint8. The others
    go into `unreadable` as they are met. Shows progress on a terminal.

    Args:
        batch: videos held at once.
        workers: processes that decode; 0 for this one.
    """
    with tqdm(total=len(clips), desc=task, disable=None, leave=False) as progress:
        for frames, targets, entry, _ in evaluation_batches(clips, batch, workers):
            readable = (targets > 0).any(1)
            for i in entry[~readable].tolist():
                unreadable[clips.listing.entries[i].path] = clips.problem(i)
            yield [clips.listing.entries[i] for i in entry[readable].tolist()], frames[readable]
            progress.update(len(entry))


def start_worker(worker: int) -> None:
    """Decode in one thread, since there is a worker for every core; leave Ctrl-C to the process that is asked; end
    where a batch cannot be sent, for which that process would wait; end with that process, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it would wait for ever until its batches are taken
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: os._exit(1))  # type: ignore[attr-defined]
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "threads;1")
    cv2_module().setNumThreads(0)


def mixed(*numbers: int) -> int:
    """One seed from several numbers.

    Example:
        >>> mixed(0, 1) != mixed(1, 0)
        True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
