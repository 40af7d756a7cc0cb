"""A trace on disk, to tune again for another target without recording again."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.thresholds.trace import Trace
from tlee.calibration.videos import Parts
from tlee.errors import UsageError
from tlee.files import sha256, whole_file
from tlee.training.datasets import Entry, Listing

FORMAT = 2
RECORD_AGAIN = "record again: tlee-tune with --data"
# What NumPy, zipfile and json raise for files of all kinds; RuntimeError for flags that say encrypted or unknown.
DAMAGED: tuple[type[Exception], ...] = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)
DAMAGED += (RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class TraceFile:
    """A recorded trace and where it came from.

    Attributes:
        model: `fingerprint` of the bundle that was recorded.
        precision: of its segments.
        frames: of a video (T).
        trace: of the tuning videos, at `temperature`.
        temperature: (E,) as fitted.
        calibration_error: (2, E) before fitting and after, on the tuning videos.
        videos: both parts; the trace holds the tuning videos that could be read.
        data: where they came from, plain values.
    """

    model: str
    precision: str
    frames: int
    trace: Trace
    temperature: np.ndarray
    calibration_error: np.ndarray
    videos: Parts
    data: dict[str, Any]


def fingerprint(bundle: Bundle, precision: str) -> str:
    """What a trace depends on: the segments in use, the frames and the classes."""
    files = {name: bundle.manifest["files"][bundle.file_of(name, precision)]["sha256"] for name in bundle.segments}
    kept = {"segments": files, **{key: bundle.manifest[key] for key in ("model", "frames")}}
    return sha256(json.dumps(kept, sort_keys=True).encode())


def save_trace(path: str | Path, content: TraceFile) -> None:
    """Write a trace: NumPy's npz, with a hash over its arrays. Raises UsageError where it cannot be written."""
    arrays = {**vars(content.trace), "temperature": content.temperature, "calibration_error": content.calibration_error}
    head: dict[str, Any] = {key: getattr(content, key) for key in ("model", "precision", "frames", "data")}
    head["videos"] = [[[str(e.path), e.labels, e.frames] for e in part.entries] for part in content.videos]
    head |= {"format": FORMAT, "classes": content.videos.tuning.classes, "sha256": _hash(arrays)}
    with whole_file(str(path), "wb") as stream:
        np.savez_compressed(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)


def load_trace(path: str | Path) -> TraceFile:
    """Read a trace back; nothing is unpickled.

    Raises:
        UsageError: no such file, not a trace, of another format, or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(arrays.pop("head").tobytes())
        sound = head["format"] != FORMAT or head["sha256"] == _hash(arrays)
    except FileNotFoundError:
        raise UsageError(path, "no such trace", RECORD_AGAIN) from None
    except DAMAGED as error:
        problem = f"not a trace of tlee-tune, or damaged ({type(error).__name__})"
        raise UsageError(path, problem, RECORD_AGAIN) from None
    if head["format"] != FORMAT:
        raise UsageError(path, f"format {head['format']}, this release reads {FORMAT}", RECORD_AGAIN)
    if not sound:
        raise UsageError(path, "damaged: its content is not what was written", RECORD_AGAIN)
    listings = [
        Listing([Entry(Path(n), tuple(ls), count) for n, ls, count in part], head["classes"], flips=False, notes=[])
        for part in head["videos"]
    ]
    trace = Trace(**{f.name: arrays[f.name] for f in fields(Trace)})
    return TraceFile(
        head["model"],
        head["precision"],
        head["frames"],
        trace,
        arrays["temperature"],
        arrays["calibration_error"],
        Parts(*listings),
        head["data"],
    )


def _hash(arrays: dict[str, np.ndarray]) -> str:
    parts = [
        f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes() for name, array in sorted(arrays.items())
    ]
    return sha256(b"".join(parts))
