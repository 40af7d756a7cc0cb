"""Videos as training examples, decoded and prepared exactly as on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tlee.errors import UsageError
from tlee.frames import FrameSpec
from tlee.video import VIDEOS, open_clip, read_frames, sampled_order


class ClassFolders(Dataset):
    """A folder with one subfolder per class, each holding video files or folders of pictures.

    Args:
        root: the folder. Classes are its subfolders in sorted order.
        spec: the frames to read.
        cache: keep decoded clips in memory.

    Raises:
        UsageError: no such folder, or no clips in it.

    Each item is (frames, label): (T, H, W, 3) uint8 RGB in processing order, and the class index.
    """

    def __init__(self, root: str | Path, spec: FrameSpec, cache: bool = False) -> None:
        self.spec = spec
        self._kept: dict[int, torch.Tensor] | None = {} if cache else None
        folders = sorted(p for p in Path(root).iterdir() if p.is_dir()) if Path(root).is_dir() else []
        self.classes = [folder.name for folder in folders]
        self.items = [(clip, label) for label, folder in enumerate(folders) for clip in sorted(_clips(folder))]
        if not self.items:
            raise UsageError(root, "no clips here", "give a folder with one subfolder of clips per class")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.items[index]
        if self._kept is None:
            return self._decode(path), label
        if index not in self._kept:
            self._kept[index] = self._decode(path)
        return self._kept[index], label

    def _decode(self, path: Path) -> torch.Tensor:
        with open_clip(str(path)) as clip:
            # All frames are wanted, so a video file is decoded forwards, which is cheapest.
            wanted = sampled_order(clip, self.spec)
            forwards = sorted(set(wanted))
            decoded = dict(zip(forwards, read_frames(clip, self.spec, forwards), strict=True))
        return torch.from_numpy(np.stack([decoded[i] for i in wanted]))


def loader(data: ClassFolders, batch: int, shuffle: bool, workers: int, seed: int = 0) -> DataLoader:
    """Batches of (frames, labels); shuffled in an order that `seed` fixes."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(
        data, batch, shuffle=shuffle, num_workers=workers, generator=generator, drop_last=shuffle and len(data) > batch
    )


def _clips(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() or p.suffix.lower() in VIDEOS]
