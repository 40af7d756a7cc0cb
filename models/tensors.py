"""Files of tensors of any origin: safetensors, and PyTorch's own (`.pth`, `.pth.tar`).

Of PyTorch's own only tensors and plain values are ever unpickled.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tlee.errors import CheckpointError
from tlee.files import atomic_write
from tlee.reading import MB, check_size, open_plain, parsed

LIMIT = 8192 * MB  # of a file; VGG-16 with its momentum has 1.1 GB
ZIP, PICKLE = b"PK\x03\x04", b"\x80\x02"  # first bytes of PyTorch's files: since 1.6, and before
PICKLE_LIMIT = 64 * MB  # of everything but the tensors' content; 10,000 entries have 2 MB
OURS = "give a .safetensors file that tlee-train wrote, or a published .pth.tar with --config"
PUBLISHED = "give a .pth.tar of the published code"
SAVE_AGAIN = (
    "if you trust it, save its tensors alone: python -c \"import torch; c = torch.load('FILE', 'cpu', "
    "weights_only=False); torch.save({'state_dict': c['state_dict']}, 'NEW.pth.tar')\""
)
GLOBAL = re.compile(r"(?:GLOBAL|class|type|function) ([\w.]+)")
# NumPy's numbers and arrays, which a best accuracy is often saved as, are dropped without running NumPy's code.
LEFT_OUT = [
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Int64"))),
]


class LeftOut:
    """Replaces NumPy's objects."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all. Raises UsageError."""
    content = safetensors.torch.save({n: tensor.contiguous().cpu() for n, tensor in tensors.items()}, dict(header))
    with atomic_write(os.fspath(path), "wb") as stream:
        stream.write(content)


@contextmanager
def open_tensors(path: str | Path) -> Iterator[safe_open]:
    """A safetensors file. Its header is checked against the file's size; tensors are read when they are asked for.

    Raises:
        CheckpointError: it cannot be read, or is not such a file.
    """
    with _opened(path, OURS):
        try:
            with safe_open(path, "pt") as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise CheckpointError(path, f"not a checkpoint ({error})", OURS) from None


def read_state(path: str | Path) -> dict[str, Tensor]:
    """A file's `state_dict`, or its content if that is one.

    Raises:
        CheckpointError: it cannot be read, contains other objects than tensors and plain values, or no such dictionary.
    """
    with _opened(path, PUBLISHED) as stream:
        begin = stream.read(4)
        if begin != ZIP and not begin.startswith(PICKLE):
            raise CheckpointError(path, "not a checkpoint of PyTorch: it begins otherwise", PUBLISHED)
        if begin == ZIP:
            _check_archive(path, stream)
        stream.seek(0)
        content = parsed(path, lambda: _load(path, stream), "a checkpoint", PUBLISHED, CheckpointError)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(_is_entry(*entry) for entry in state.items()):
        raise CheckpointError(path, "no state_dict of tensors inside", PUBLISHED)
    return dict(state)


@contextmanager
def _opened(path: str | Path, remedy: str) -> Iterator[BinaryIO]:
    with open_plain(os.fspath(path), CheckpointError) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size == 0:
            raise CheckpointError(path, "the file is empty", "copy or train it again")
        check_size(os.fspath(path), size, LIMIT, CheckpointError, remedy)
        yield stream


def _is_entry(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and not value.is_quantized and not value.is_nested and not value.is_meta


def _load(path: str | Path, stream: BinaryIO) -> Any:
    allowed = [(LeftOut, name) for name in LEFT_OUT]
    with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # the caller reports what is wrong, once
        try:
            return torch.load(stream, map_location="cpu", weights_only=True)
        except Exception as error:
            if "Weights only load failed" not in str(error):
                raise
            found = GLOBAL.search(str(error))
            if found is None:
                raise CheckpointError(path, "damaged, or pickled in a way that is not read safely", PUBLISHED) from None
            problem = f"holds other objects than tensors and plain values ({found[1]}), which are not read"
            raise CheckpointError(path, problem, SAVE_AGAIN) from None


def _check_archive(path: str | Path, stream: BinaryIO) -> None:
    """PyTorch does not compress, so the claimed sizes of an archive's parts cannot exceed the file's."""
    archive = parsed(path, lambda: zipfile.ZipFile(stream), "a checkpoint", "copy it again", CheckpointError)
    members, size = archive.infolist(), os.fstat(stream.fileno()).st_size
    if any(m.compress_type != zipfile.ZIP_STORED for m in members) or sum(m.file_size for m in members) > size:
        raise CheckpointError(path, "an archive that PyTorch did not write: its parts are compressed", PUBLISHED)
    for member in (m for m in members if m.filename.endswith("data.pkl")):
        check_size(os.fspath(path), member.file_size, PICKLE_LIMIT, CheckpointError, PUBLISHED)
        content = parsed(path, partial(archive.read, member), "a checkpoint", "copy it again", CheckpointError)
        if b"bytearray" in content:  # a few bytes can claim one of any length
            raise CheckpointError(path, "holds other objects than tensors and plain values (bytearray)", PUBLISHED)
