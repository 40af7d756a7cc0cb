"""Frames kept in memory between epochs, where they fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

SHARE = 4  # of the free memory frames may take one part in so many
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


class Kept(NamedTuple):
    """What is kept of a clip."""

    frame_count: int
    ordered: list[int]  # indices of the T frames that evaluation sees, in processing order
    pictures: dict[int, np.ndarray]  # by index, (h, w, 3) uint8


class FrameCache:
    """The frames of clips by number.

    Args:
        limit: bytes after which no further clip is kept; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.bytes = 0
        self._limit = limit
        self._clips: dict[int, Kept] = {}

    def __len__(self) -> int:
        return len(self._clips)

    def get(self, index: int) -> Kept | None:
        return self._clips.get(index)

    def add(self, index: int, kept: Kept) -> None:
        size = sum(picture.nbytes for picture in kept.pictures.values())
        if self._limit is None or self.bytes + size <= self._limit:
            self._clips[index] = kept
            self.bytes += size


def fill(keep: Callable[[int], None], count: int, threads: int, shown: bool) -> None:
    """Call `keep` with every number below `count`, in several threads; `shown` under a progress bar."""
    hidden = None if shown else True  # None: only where there is a terminal
    with ThreadPoolExecutor(threads) as pool, tqdm(total=count, desc="reading", leave=False, disable=hidden) as bar:
        try:
            for _ in pool.map(keep, range(count)):
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def frame_memory() -> int:
    """Bytes that frames may take: a quarter of what is free."""
    return free_memory() // SHARE


def free_memory() -> int:
    """Bytes that this machine, or this container, can still give."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        limit, used = (int((CGROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return min(free, max(0, limit - used))
