"""Moving digits: real handwritten digits that move over textured, noisy backgrounds, as MP4 files.

The digits are scikit-learn's (1,797 images of 8 x 8, from the UCI handwritten digits test set). Train,
validation and test videos share no digit image. Difficulty varies from video to video: some are clear in
the first frame, some only after several.

    python examples/moving_digits.py FOLDER --train 4000 --val 500 --test 1000

writes FOLDER/<split>/<digit>/<number>_<difficulty>.mp4, the same files for the same seed.
"""

from __future__ import annotations

import argparse
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

from tlee.errors import UsageError

WIDTH, HEIGHT, FRAMES, FPS = 96, 80, 24, 12
SPLIT_SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
# From the easiest video to the hardest: value at difficulty 0 and at difficulty 1.
RANGES = {
    "size": (56.0, 30.0),  # height of the digit, pixels
    "contrast": (150.0, 70.0),  # grey levels between digit and background
    "texture": (8.0, 26.0),  # deviation of the background, grey levels
    "noise": (4.0, 22.0),  # deviation of the pixel noise, grey levels
    "blur": (0.0, 1.4),  # deviation of the blur, pixels
    "hidden": (0.0, 0.65),  # share of the frames in which something covers the digit
    "speed": (0.3, 1.5),  # pixels per frame
}
LEVELS = ("easy", "medium", "hard")


def digit_images(split: str) -> list[list[np.ndarray]]:
    """The 8 x 8 images of a split, values 0-1, one list per digit."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    bounds = np.cumsum([0, *SPLIT_SHARES.values()]) * len(labels)
    number = list(SPLIT_SHARES).index(split)
    chosen = order[round(bounds[number]) : round(bounds[number + 1])]
    return [[images[i].reshape(8, 8) / 16 for i in chosen if labels[i] == digit] for digit in range(10)]


def level(difficulty: float) -> str:
    """Name of a difficulty 0-1: each third has one."""
    return LEVELS[min(int(difficulty * 3), 2)]


def render(image: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """One video, (FRAMES, HEIGHT, WIDTH, 3) uint8 RGB."""
    style = {name: _between(low, high, difficulty, rng) for name, (low, high) in RANGES.items()}
    background = _texture(rng, 2 * HEIGHT, 2 * WIDTH, style["texture"])
    tint = rng.uniform(0.75, 1.0, 3) * style["contrast"] * rng.choice([-1, 1])
    drift = rng.uniform(-1, 1, 2) * style["speed"]
    position, velocity = _start(style, rng)
    angle, spin = rng.uniform(-10, 10), rng.uniform(-0.4, 0.4) * style["speed"]
    frames = []
    for t in range(FRAMES):
        top, left = (np.array([HEIGHT, WIDTH]) / 2 + drift * t).astype(int)
        frame = background[top : top + HEIGHT, left : left + WIDTH].copy()
        position, velocity = _bounce(position + velocity, velocity, style["size"])
        frame += _mask(image, style["size"], position, angle + spin * t)[:, :, None] * tint
        if rng.random() < style["hidden"]:
            _hide(frame, position, style["size"], background, rng)
        if style["blur"] > 0.3:
            frame = cv2.GaussianBlur(frame, (0, 0), style["blur"])
        frame += rng.normal(0, style["noise"], frame.shape)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return np.stack(frames)


def write_video(path: Path, frames: np.ndarray) -> None:
    """Write (T, H, W, 3) uint8 RGB as MPEG-4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (frames.shape[2], frames.shape[1]))
    if not writer.isOpened():
        raise UsageError(path, "cannot be written as MP4", "install an OpenCV with FFmpeg, check the folder")
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def make_split(folder: Path, split: str, count: int, seed: int) -> None:
    """Write `count` videos, digits in turn, difficulties uniform."""
    images = digit_images(split)
    for number in tqdm(range(count), desc=split, disable=None):
        rng = np.random.default_rng([seed, zlib.crc32(split.encode()), number])
        digit, difficulty = number % 10, rng.random()
        image = images[digit][rng.integers(len(images[digit]))]
        path = folder / split / str(digit) / f"{number:05d}_{level(difficulty)}.mp4"
        write_video(path, render(image, difficulty, rng))


def _between(low: float, high: float, difficulty: float, rng: np.random.Generator) -> float:
    # Each property varies on its own, so that videos are hard in different ways.
    return low + (high - low) * float(np.clip(difficulty + rng.normal(0, 0.12), 0, 1))


def _texture(rng: np.random.Generator, height: int, width: int, deviation: float) -> np.ndarray:
    total = np.zeros((height, width, 3))
    for cell in (4, 9, 20):
        coarse = rng.normal(size=(height // cell + 2, width // cell + 2, 3))
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * np.sqrt(cell)
    return 127 + deviation * total / total.std()


def _start(style: dict[str, float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    centre = np.array([HEIGHT, WIDTH]) / 2
    reach = np.array([HEIGHT, HEIGHT]) / 2 - style["size"] / 2  # stays inside the centred square
    direction = rng.uniform(0, 2 * np.pi)
    return centre + rng.uniform(-1, 1, 2) * reach, style["speed"] * np.array([np.sin(direction), np.cos(direction)])


def _bounce(position: np.ndarray, velocity: np.ndarray, size: float) -> tuple[np.ndarray, np.ndarray]:
    centre = np.array([HEIGHT, WIDTH]) / 2
    reach = HEIGHT / 2 - size / 2
    outside = np.abs(position - centre) > reach
    return np.clip(position, centre - reach, centre + reach), np.where(outside, -velocity, velocity)


def _mask(image: np.ndarray, size: float, position: np.ndarray, angle: float) -> np.ndarray:
    # The 8 x 8 image, scaled to `size` and rotated, its centre at `position`; smooth edges, values 0-1.
    side = round(size * 10 / 8)
    large = cv2.resize(np.pad(image, 1), (side, side), interpolation=cv2.INTER_CUBIC)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1)
    matrix[:, 2] += position[::-1] - side / 2
    placed = cv2.warpAffine(large, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderValue=0)
    return np.clip(placed * 1.3 - 0.15, 0, 1)


def _hide(frame: np.ndarray, position: np.ndarray, size: float, cover: np.ndarray, rng: np.random.Generator) -> None:
    # A textured patch over more than half of the digit.
    extent = (size * rng.uniform(0.5, 0.9, 2)).astype(int)
    corner = np.maximum(0, position - extent / 2 + rng.uniform(-0.2, 0.2, 2) * size).astype(int)
    patch = frame[corner[0] : corner[0] + extent[0], corner[1] : corner[1] + extent[1]]
    top, left = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
    patch[:] = cover[top : top + patch.shape[0], left : left + patch.shape[1]] + rng.uniform(-30, 30)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write moving-digit videos.")
    parser.add_argument("folder", type=Path)
    for split, count in (("train", 4000), ("val", 500), ("test", 1000)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"videos (default {count})")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.makedirs(arguments.folder, exist_ok=True)
    for split in SPLIT_SHARES:
        make_split(arguments.folder, split, getattr(arguments, split), arguments.seed)


if __name__ == "__main__":
    main()
