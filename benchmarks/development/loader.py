"""How fast training gets its frames: the data loader against plain decoding of the same frames of the same files.

    python -m tlee.benchmarks.development.loader FOLDER

Plain decoding is PyAV reading each file forwards up to the last frame wanted and making those that are wanted RGB, in
as many processes as the loader has workers, one thread each: nothing is resized, varied, or handed from process to
process. The two take turns. For a workstation: the loader needs PyTorch.

Tiny clips are those of `python examples/moving_digits.py FOLDER`; `--make 640x272` makes others in a new folder.
"""

import argparse
import itertools
import multiprocessing
import os
import shutil
import statistics
import time
from typing import Any, List, NamedTuple, Optional

import av

from tlee import cli
from tlee.benchmarks.development.files import make_video
from tlee.data.clips import open_clip
from tlee.frames import FrameSpec, sample_indices
from tlee.models.config import frame_order

BATCH = 16


class Job(NamedTuple):
    """A file, and which of its frames are wanted, rising."""

    path: str
    wanted: List[int]


def decode(job: Job) -> int:
    """Plainly decode a file's wanted frames; returns their number."""
    found = 0
    with av.open(job.path) as container:
        container.streams.video[0].thread_count = 1
        pictures = itertools.islice(container.decode(video=0), job.wanted[-1] + 1)
        for index, picture in enumerate(pictures):
            if index in job.wanted:
                found += picture.to_ndarray(format="rgb24").ndim == 3
    return found


def make_videos(folder: str, size: str, count: int) -> None:
    """A video of 10 s with a key frame every 250 pictures, so many times in two classes."""
    first = os.path.join(folder, "a", "0.mp4")
    for label in ("a", "b"):
        os.makedirs(os.path.join(folder, label))
    make_video(first, 250, size)
    for number in range(1, count):
        shutil.copy(first, os.path.join(folder, "ab"[number % 2], f"{number}.mp4"))


def plain_rate(pool: Any, jobs: List[Job]) -> float:
    """Frames per second of plain decoding."""
    start = time.perf_counter()
    frames = sum(pool.imap_unordered(decode, jobs, chunksize=BATCH))
    return frames / (time.perf_counter() - start)


def loader_rate(batches: Any) -> float:
    """Frames per second of one epoch of the loader."""
    start = time.perf_counter()
    frames = sum(batch.frames.shape[0] * batch.frames.shape[1] for batch in batches)
    return float(frames / (time.perf_counter() - start))


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(description="The training data loader against plain decoding.")
    parser.add_argument("folder", help="one subfolder of video files per class")
    parser.add_argument("--size", type=int, default=224, help="side of a frame, pixels (%(default)s)")
    parser.add_argument("--frames", type=int, default=10, help="frames of each video (%(default)s)")
    parser.add_argument("--videos", type=int, default=400, help="so many of them (%(default)s)")
    parser.add_argument("--runs", type=int, default=7, help="of each (%(default)s)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (%(default)s)")
    parser.add_argument("--make", metavar="SIZE", help="make the videos, of so many pixels, in a new folder")
    options = parser.parse_args(arguments)
    if options.make:
        make_videos(options.folder, options.make, options.videos)
    # imported here: PyTorch may not be installed
    from tlee.data.labelled.listing import read_listing
    from tlee.data.labelled.loader import AugmentConfig, ClipDataset, ShuffledSampler, start_worker, training_batches

    listing = read_listing("folders", options.folder)
    del listing.entries[options.videos // BATCH * BATCH :]
    spec = FrameSpec(options.frames, frame_order(options.frames), options.size, options.size)
    jobs = []
    for entry in listing.entries:
        with open_clip(str(entry.path)) as clip:
            jobs.append(Job(str(entry.path), sorted(set(sample_indices(clip.frame_count, spec.length)))))
    order = ShuffledSampler(len(jobs), BATCH, 1, 0, 0, 1)
    batches = training_batches(ClipDataset(listing, spec, AugmentConfig(jitter=False)), order, options.workers)
    plain, loader = [], []
    with multiprocessing.Pool(options.workers, start_worker, (0,)) as pool:
        for run in range(options.runs + 1):  # the first run starts the workers
            order.seek(run, 0)
            plain.append(plain_rate(pool, jobs))
            loader.append(loader_rate(batches))
    ratios = [b / a for a, b in zip(plain[1:], loader[1:])]
    print(f"{len(jobs)} videos, {options.workers} processes, frames to {options.size} pixels")
    medians = [f"{statistics.median(rates[1:]):.0f}" for rates in (plain, loader)]
    rows = [["", f"frames/s (median of {options.runs})"], *zip(("plain decoding", "data loader"), medians)]
    print("\n".join(cli.table(rows, "lr")))
    print(f"ratio, paired: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    cli.main("loader", command)
