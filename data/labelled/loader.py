"""Labelled clips for training and evaluation: decoded as on the device, augmented where a model learns from them.

All randomness is derived from (seed, epoch, number of the entry): every process makes the same example.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from tqdm import tqdm

from tlee.data.clip import Clip
from tlee.data.clips import open_clip
from tlee.data.labelled.augment import PLACES, AugmentConfig, drawn, jitter_range, jittered, shrunk, varied
from tlee.data.labelled.cache import FrameCache, Kept
from tlee.data.labelled.listing import Entry, Listing
from tlee.data.pictures import cv2_module
from tlee.data.sampling import sampled_order
from tlee.errors import InputError, UsageError
from tlee.frames import PUBLISHED, FrameSpec, prepare

AHEAD = 2  # batches that a thread makes in advance
READABLE = -1
PR_SET_PDEATHSIG = 1  # of Linux
NO_PROCESSES = (
    "give this system a /dev/shm of a megabyte (docker run --shm-size 64m), memory and open files, or decode without "
    "(--workers 0; in a training --set data.workers=0)"
)
Key = tuple[int, int]  # epoch and number of the entry


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


class ClipDataset(Dataset):
    """The videos of a listing. Items are taken by (epoch, number of the entry), and are those of a `Batch`.

    An entry that cannot be read is named in `unreadable`. In training the next readable one takes its place, so that
    all processes have batches of one size.

    Args:
        listing: which videos.
        spec: the frames to read.
        augment: how to vary them; None for evaluation.
        seed: of the augmentation.
        cache: keeps frames in memory: a clip's T, with jitter all that it chooses from. It does not change them.
    """

    def __init__(
        self,
        listing: Listing,
        spec: FrameSpec,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        cache: FrameCache | None = None,
    ) -> None:
        self.listing, self.spec, self.augment, self.cache = listing, spec, augment, cache
        self._seed, self._single = seed, False

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
        target = torch.zeros(len(self.listing.classes), dtype=torch.float32)  # whatever the default is
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
        spec, augment = self.spec, self.augment
        if augment is None:
            return torch.from_numpy(np.stack(self._read(index, list(range(spec.length)))))
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, index))
        flips = self.listing.flips if augment.flip is None else augment.flip
        variation = drawn(augment, generator, spec.length, self.jitters, flips, self._single)
        taken = list(range(spec.length)) if variation.single is None else [variation.single]
        return torch.from_numpy(varied(self._read(index, taken, variation.offsets), spec, variation))

    def _read(self, index: int, taken: list[int], offsets: list[float] | None = None) -> list[np.ndarray]:
        """Pictures of an entry's T, `taken` by their place in processing order. Raises InputError."""
        if self.cache is not None:
            kept = self.cache.get(index) or self.keep(index)
            ordered = self._jittered(kept.frame_count, offsets) if offsets else kept.ordered
            return [kept.pictures[ordered[i]] for i in taken]
        entry = self.listing.entries[index]
        with open_clip(str(entry.path), _threads()) as clip:
            if offsets:
                ordered = self._jittered(clip.frame_count, offsets)
            else:
                ordered = sampled_order(clip, self.spec, entry.frames)
            wanted = [ordered[i] for i in taken]
            pictures = self._decode(clip, wanted)
        return [pictures[i] for i in wanted]

    def keep(self, index: int, threads: int | None = None) -> Kept:
        """All frames of an entry that an example may have, and into the cache with them. Raises InputError."""
        entry = self.listing.entries[index]
        # All at once: opening a file costs more than decoding a small one.
        with open_clip(str(entry.path), threads or _threads()) as clip:
            ordered = sampled_order(clip, self.spec, entry.frames)
            wanted = jitter_range(clip.frame_count, self.spec.length) if self.jitters else ordered
            kept = Kept(clip.frame_count, ordered, self._decode(clip, wanted))
        if self.cache is not None:
            self.cache.add(index, kept)
        return kept

    def most_bytes(self) -> int:
        """What the cache would take for clips no wider than 16 to 9."""
        frames = self.spec.length * (PLACES if self.jitters else 1)
        pixels = self.spec.resize**2 * 16 // 9 if self._crops else self.spec.crop**2
        return 3 * pixels * frames * len(self)

    @property
    def _crops(self) -> bool:
        return bool(self.augment and self.augment.crop)

    def _jittered(self, frame_count: int, offsets: list[float]) -> list[int]:
        sampled = jittered(frame_count, offsets)
        return [sampled[i] for i in self.spec.order]

    def _decode(self, clip: Clip, wanted: list[int]) -> dict[int, np.ndarray]:
        """Pictures by index: prepared, or for random crops the whole one."""
        spec, indices, make = self.spec, sorted(set(wanted)), shrunk if self._crops else prepare
        return dict(zip(indices, clip.frames(indices, lambda picture: make(picture, spec))))


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

    def seek(self, epoch: int, step: int, variant: int | None = None) -> None:
        """Start the next iteration at a step of an epoch, with the examples of another one if `variant` names it."""
        self._epoch, self._step = epoch, step
        self._variant = epoch if variant is None else variant

    def __len__(self) -> int:
        return (self.steps - self._step) * self._batch // self._part

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, self._epoch))
        order = torch.randperm(self._total, generator=generator)[: self.steps * self._batch]
        for part in order[self._step * self._batch :].split(self._part):
            yield [(self._variant, int(i)) for i in part[self._rank :: self._world]]


class ClipLoader(DataLoader):
    """A data loader of clips that reports what the system lacks.

    Args:
        ahead: without workers, whether a thread makes the next batches while the caller uses one.

    Raises:
        UsageError: when iterated, its processes cannot be started.
    """

    def __init__(self, clips: ClipDataset, workers: int, ahead: bool = False, **options: Any) -> None:
        super().__init__(clips, num_workers=workers, collate_fn=_collate, worker_init_fn=start_worker, **options)
        self._ahead = ahead and workers == 0

    def __iter__(self) -> Any:
        if self._ahead:
            return self._from_thread()
        try:
            return super().__iter__()
        except OSError as error:
            reason = error.strerror if error.errno else "no room for a lock"  # Python's own: "Error"
            raise UsageError("processes that decode", f"cannot be started ({reason})", NO_PROCESSES) from None

    def _from_thread(self) -> Iterator[Batch]:
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, "tlee-batches") as thread:
            for keys in self.batch_sampler or ():
                waiting.append(thread.submit(self._make, keys))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _make(self, keys: list[Key]) -> Batch:
        batch = _collate([self.dataset[key] for key in keys])
        return Batch(*(tensor.pin_memory() for tensor in batch)) if self.pin_memory else batch


def training_batches(clips: ClipDataset, sampler: ShuffledSampler, workers: int) -> ClipLoader:
    """Batches of one process's parts of the steps; workers live on from epoch to epoch. Without any, a thread makes the
    next batches."""
    options = {"batch_sampler": sampler, "persistent_workers": workers > 0, "pin_memory": torch.cuda.is_available()}
    return ClipLoader(clips, workers, ahead=True, **options)


def evaluation_batches(
    clips: ClipDataset, batch: int, workers: int, rank: int = 0, world: int = 1, epoch: int = 0
) -> ClipLoader:
    """Every video once, in the listing's order, as it is in `epoch`; of several processes each takes its part."""
    return ClipLoader(clips, workers, batch_size=batch, sampler=[(epoch, i) for i in range(rank, len(clips), world)])


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
