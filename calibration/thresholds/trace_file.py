"""A trace on disk, to tune again for another target without recording again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.thresholds.trace import Trace
from tlee.calibration.videos import Parts
from tlee.data.labelled.listing import Entry, Listing
from tlee.errors import UsageError
from tlee.files import atomic_write, sha256
from tlee.models.config import MAX_FRAMES
from tlee.reading import MB, read_bytes

FORMAT = 2
RECORD_AGAIN = "record again: tlee-tune with --data"
LIMIT = 512 * MB  # of the file, and of its arrays: a state of three exits has 42 bytes
MEMBERS = 20
PLAIN = ("model", "precision", "frames", "data")  # fields that are kept as JSON
DTYPES = {"root": np.int32, "child": np.int32, "known": np.bool_, "confidence": np.float32, "score": np.float32}
DTYPES["right"] = np.bool_


@dataclass(frozen=True)
class TraceFile:
    """A recorded trace and where it came from."""

    model: str  # `fingerprint` of the bundle that was recorded
    precision: str  # of its segments
    frames: int  # of a video (T)
    trace: Trace  # of the tuning videos, at `temperature`
    temperature: np.ndarray  # (E,) as fitted
    calibration_error: np.ndarray  # (2, E) before fitting and after, on the tuning videos
    videos: Parts  # the trace holds the tuning videos that could be read
    data: dict[str, Any]  # where they came from, plain values


def fingerprint(bundle: Bundle, precision: str) -> str:
    """A hash of all that a trace depends on: the segments in use, the frames and the classes."""
    files = {name: bundle.manifest["files"][bundle.file_of(name, precision)]["sha256"] for name in bundle.segments}
    frames = {**bundle.manifest["frames"], "sampling": bundle.frames.sampling}
    relevant = {"segments": files, "model": bundle.manifest["model"], "frames": frames}
    return sha256(json.dumps(relevant, sort_keys=True).encode())


def save_trace(path: str | Path, content: TraceFile) -> None:
    """Write a trace: NumPy's npz, with a hash over its arrays. Raises UsageError where it cannot be written."""
    arrays = {**vars(content.trace), "temperature": content.temperature, "calibration_error": content.calibration_error}
    head: dict[str, Any] = {key: getattr(content, key) for key in PLAIN}
    head["videos"] = [[[str(e.path), e.labels, e.frames] for e in part.entries] for part in content.videos]
    head |= {"format": FORMAT, "classes": content.videos.tuning.classes, "sha256": _hash(arrays)}
    with atomic_write(str(path), "wb") as stream:
        np.savez_compressed(stream, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)


def load_trace(path: str | Path) -> TraceFile:
    """Read a trace back; nothing is unpickled.

    Raises:
        UsageError: no such file, not a trace, of another format, or damaged.
    """
    content = read_bytes(os.fspath(path), LIMIT, remedy=RECORD_AGAIN)
    try:
        arrays = _arrays(content)
        head = json.loads(arrays.pop("head").tobytes())
        sound = head["format"] != FORMAT or head["sha256"] == _hash(arrays)
    except Exception as error:  # of NumPy, zipfile, zlib and json: of nearly every class
        problem = f"not a trace of tlee-tune, or damaged ({type(error).__name__})"
        raise UsageError(path, problem, RECORD_AGAIN) from None
    if head["format"] != FORMAT:
        raise UsageError(path, f"format {str(head['format'])[:20]}, this release reads {FORMAT}", RECORD_AGAIN)
    if not sound:
        raise UsageError(path, "damaged: its content is not what was written", RECORD_AGAIN)
    try:
        _check_head(head)
        _check_arrays(arrays, len(head["videos"][0]))
    except (KeyError, TypeError, ValueError):
        raise UsageError(path, "damaged: what it holds is no trace", RECORD_AGAIN) from None
    listings = [
        Listing([Entry(Path(n), tuple(ls), count) for n, ls, count in part], head["classes"], flips=False, notes=[])
        for part in head["videos"]
    ]
    trace = Trace(**{f.name: arrays[f.name] for f in fields(Trace)})
    plain: dict[str, Any] = {key: head[key] for key in PLAIN}
    plain |= {key: arrays[key] for key in ("temperature", "calibration_error")}
    return TraceFile(trace=trace, videos=Parts(*listings), **plain)


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of an archive that may claim anything, but gets no more memory than `LIMIT`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MEMBERS or sum(member.file_size for member in members) > LIMIT:
            raise ValueError
        # Never reads more than the size that a member claims.
        streams = {member.filename: io.BytesIO(archive.read(member)) for member in members}
    read = np.lib.format.read_array
    return {name.removesuffix(".npy"): read(stream, allow_pickle=False) for name, stream in streams.items()}


def _check_head(head: dict[str, Any]) -> None:
    """Raises KeyError, TypeError or ValueError: something is missing or of another kind."""
    data, classes, parts = head["data"], head["classes"], head["videos"]
    _expect(_are(str, (head["model"], head["precision"], data["source"], data["format"], data["split"])))
    _expect(_is_count(data["seed"]) and _is_count(head["frames"], 1, MAX_FRAMES))
    held_out, share = data["held_out"], data["share"]
    _expect(isinstance(held_out, str) if share is None else isinstance(share, float) and 0 <= share < 1)
    _expect(isinstance(classes, list) and classes and _are(str, classes) and len(parts) == 2)
    for name, labels, frames in (video for part in parts for video in part):
        _expect(isinstance(name, str) and "\0" not in name and (frames is None or _is_count(frames)))
        _expect(isinstance(labels, list) and labels and all(_is_count(i, 0, len(classes) - 1) for i in labels))


def _check_arrays(arrays: dict[str, np.ndarray], videos: int) -> None:
    """Raises as `_check_head`: the arrays are not those of a `Trace`, or name states that are not there."""
    states, exits = arrays["child"].shape
    for name, dtype in DTYPES.items():
        _expect(arrays[name].dtype == dtype and (name == "root" or arrays[name].shape == (states, exits)))
    for name, shape in (("temperature", (exits,)), ("calibration_error", (2, exits))):
        _expect(arrays[name].dtype == np.float64 and arrays[name].shape == shape and np.isfinite(arrays[name]).all())
    root, child, score = arrays["root"], arrays["child"], arrays["score"]
    _expect(exits > 0 and root.ndim == 1 and 0 < len(root) <= min(videos, states))
    _expect(min(root.min(), child.min()) >= 0 and max(root.max(), child.max()) < states)
    _expect(_are_shares(arrays["confidence"]) and _are_shares(score[~np.isnan(score)]))
    _expect(arrays["temperature"].min() > 0 and arrays["calibration_error"].min() >= 0)


def _are_shares(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1.001)).all())


def _are(kind: type, values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) for value in values)


def _is_count(value: Any, least: int = 0, most: int = 2**63 - 1) -> bool:
    return type(value) is int and least <= value <= most


def _expect(holds: Any) -> None:
    if not holds:
        raise ValueError


def _hash(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
