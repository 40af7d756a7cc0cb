"""Files of tensors (safetensors), read once: the header alone first, so that nothing is made of a size that a file only
claims.

Source: the format's description, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from tlee.errors import CheckpointError
from tlee.reading import MB, check_size, open_plain, parse_json

LIMIT = 8192 * MB  # of a file; VGG-16 with its momentum has 1.1 GB
HEADER_LIMIT = 16 * MB  # of its header; that of 10,000 entries has 1 MB
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
REMEDY = "give a .safetensors file that tlee-train wrote, or a published .pth.tar with --config"


class TensorFile:
    """A file of tensors whose header is read and fits the file.

    Args:
        path: the file.

    Attributes:
        metadata: texts by name.
        shapes: of the tensors, by name.
        dtypes: of the tensors, by name.

    Raises:
        CheckpointError: it cannot be read, or its header is none of such a file, or claims what is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.fspath(path)
        self._stream: BinaryIO = open_plain(self._path, CheckpointError)
        try:
            self._size = os.fstat(self._stream.fileno()).st_size
            if self._size == 0:
                raise CheckpointError(path, "the file is empty", "copy or train it again")
            check_size(self._path, self._size, LIMIT, CheckpointError, REMEDY)
            header = self._header()
            self.metadata = _metadata(header.pop(METADATA, {}))
            self._start = self._stream.tell()
            places = sorted((_place(name, entry), name) for name, entry in header.items())
            self._check_places([place for place, _ in places])
        except (ValueError, OSError) as error:
            self._stream.close()
            raise CheckpointError(path, f"not a checkpoint ({error})", REMEDY) from None
        except CheckpointError:
            self._stream.close()
            raise
        self.shapes = {name: tuple(header[name]["shape"]) for _, name in places}
        self.dtypes = {name: DTYPES[header[name]["dtype"]] for _, name in places}

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def tensors(self) -> dict[str, Tensor]:
        """All tensors. Raises CheckpointError where the file breaks off meanwhile."""
        self._stream.seek(self._start)
        return {name: self._tensor(name) for name in self.shapes}  # in the file's order

    def _tensor(self, name: str) -> Tensor:
        shape, dtype = self.shapes[name], self.dtypes[name]
        content = torch.empty(torch.Size(shape).numel() * dtype.itemsize, dtype=torch.uint8)
        try:
            read = self._stream.readinto(content.numpy())  # type: ignore[attr-defined]
        except OSError as error:
            raise CheckpointError(self._path, error.strerror, "copy it again") from None
        if read != len(content):
            raise CheckpointError(self._path, "breaks off", "copy it again")
        return content.view(dtype).reshape(shape)

    def _header(self) -> dict[str, Any]:
        length = int.from_bytes(self._stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, self._size - 8):
            raise ValueError(f"a header of {length:,} bytes in a file of {self._size:,}")
        header = parse_json(self._stream.read(length))
        if not isinstance(header, dict):
            raise ValueError("a header without entries")
        return header

    def _check_places(self, places: list[tuple[int, int]]) -> None:
        """One tensor after the other, without gaps, to the end of the file."""
        ends = [0, *(end for _, end in places)]
        if [start for start, _ in places] != ends[:-1] or self._start + ends[-1] != self._size:
            raise ValueError("its tensors are not those that its header lists: cut off, or damaged")


def _metadata(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise ValueError("metadata other than texts")
    return given


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor begins and ends. Raises ValueError where that is not the place of its shape and type."""
    if not isinstance(entry, dict):
        raise ValueError(f"the entry {name} is none of a tensor")
    shape: Any = entry.get("shape")
    place: Any = entry.get("data_offsets")
    if not (_counts(shape) and _counts(place) and len(place) == 2 and entry.get("dtype") in list(DTYPES)):
        raise ValueError(f"the entry {name} is none of a tensor")
    size = DTYPES[entry["dtype"]].itemsize
    for side in shape:
        size *= side
    if place[0] + size != place[1]:
        raise ValueError(f"the entry {name} has not the size of its shape")
    return place[0], place[1]


def _counts(given: Any) -> bool:
    return isinstance(given, list) and len(given) <= 8 and all(type(n) is int and 0 <= n < 2**48 for n in given)
