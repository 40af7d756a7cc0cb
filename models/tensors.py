"""Files of tensors (safetensors) of any origin."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tlee.errors import CheckpointError
from tlee.reading import MB, check_size, open_plain

LIMIT = 8192 * MB  # of a file; VGG-16 with its momentum has 1.1 GB
REMEDY = "give a .safetensors file that tlee-train wrote, or a published .pth.tar with --config"


@contextmanager
def open_tensors(path: str | Path) -> Iterator[safe_open]:
    """A file of tensors. Its header is checked against the file's size; tensors are read when they are asked for.

    Raises:
        CheckpointError: it cannot be read, or is not such a file.
    """
    with open_plain(os.fspath(path), CheckpointError) as stream:
        size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise CheckpointError(path, "the file is empty", "copy or train it again")
    check_size(os.fspath(path), size, LIMIT, CheckpointError, REMEDY)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(path, f"not a checkpoint ({error})", REMEDY) from None
