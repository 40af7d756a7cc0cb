"""How this process manages its memory."""

from __future__ import annotations

import ctypes

# Options of glibc's mallopt, and values: never take a buffer from the kernel alone, never give one back, and take more
# than is needed at once.
OPTIONS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**30)}


def keep_buffers() -> None:
    """Keep large buffers that are freed, for the next ones; call it before the first of them.

    By default glibc returns each to the kernel, which must zero it when it is wanted again: in training on a CPU this
    took nearly half of the time. Other C libraries are left alone.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option, value in OPTIONS.values():
            library.mallopt(option, value)
