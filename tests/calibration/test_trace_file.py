"""A trace comes back as it was, or not at all; reading one runs nothing that is in it."""

import json
import os
import pickle
import shutil
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from tlee.bundle import Bundle
from tlee.calibration.thresholds import trace_file
from tlee.calibration.thresholds.trace import Trace
from tlee.calibration.thresholds.trace_file import TraceFile, _hash, fingerprint, load_trace, save_trace
from tlee.calibration.videos import Parts
from tlee.data.labelled.listing import Entry, Listing
from tlee.errors import UsageError
from tlee.export.bundle_writer import amend_bundle

DATA = {"format": "folders", "split": "val", "held_out": None, "seed": 0}


def listing(folder, count):
    entries = [Entry(Path(folder, f"{i} ü\udcff.mp4"), (i % 3, 3)[: 1 + i % 2], i or None) for i in range(count)]
    return Listing(entries, ["a", "b", "ç", "d"], flips=False, notes=[])


def content():
    """What might have been recorded of eight videos of four frames and three exits."""
    rng, shape = np.random.default_rng(0), (40, 3)
    score = np.where(rng.random(shape) < 0.5, np.nan, rng.random(shape)).astype(np.float32)
    child, known = rng.integers(0, 40, shape).astype(np.int32), rng.random(shape) < 0.5
    trace = Trace(np.arange(0, 40, 5, np.int32), child, known, rng.random(shape).astype(np.float32), score, known)
    videos, data = Parts(listing("/a", 8), listing("b/c", 5)), {"source": "/a", "share": 0.5, **DATA}
    return TraceFile("0" * 64, "fp32", 4, trace, rng.random(3), rng.random((2, 3)), videos, data)


def same(one, two):
    plain = ("model", "precision", "frames", "videos", "data")
    arrays = [(getattr(one, name), getattr(two, name)) for name in ("temperature", "calibration_error")]
    arrays += [(getattr(one.trace, field.name), getattr(two.trace, field.name)) for field in fields(Trace)]
    return all(getattr(one, name) == getattr(two, name) for name in plain) and all(
        a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in arrays
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace.npz"
    save_trace(path, content())
    return path


@pytest.fixture
def refused():
    """The one line with which a file is refused."""

    def load(path):
        with pytest.raises(UsageError) as error:
            load_trace(path)
        line = str(error.value)
        assert line.startswith(f"{path}: ") and line.endswith("; record again: tlee-tune with --data")
        assert "\n" not in line
        return line

    return load


def test_what_was_saved_comes_back(saved):
    assert same(load_trace(saved), content()) and same(load_trace(str(saved)), content())
    assert not same(content(), replace(content(), frames=3))


def test_the_same_trace_is_the_same_file(saved, tmp_path):
    save_trace(tmp_path / "again.npz", content())
    assert same(load_trace(tmp_path / "again.npz"), load_trace(saved))
    save_trace(tmp_path / "loaded.npz", load_trace(saved))
    assert (tmp_path / "loaded.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
@pytest.mark.parametrize("start", range(4))
def test_a_byte_altered_anywhere_is_noticed_or_means_nothing(saved, tmp_path, refused, start, flip):
    whole, path, noticed = saved.read_bytes(), tmp_path / "altered.npz", 0
    for place in range(start, len(whole), 16):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        try:
            assert same(load_trace(path), content())  # of the archive's own: dates, names given twice
        except UsageError:
            noticed += 1
            assert "damaged" in refused(path)
    assert noticed > len(whole) / 16 / 2


def test_a_file_that_ends_early_is_refused(saved, tmp_path, refused):
    whole = saved.read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "short.npz").write_bytes(whole[:length])
        assert "not a trace of tlee-tune, or damaged" in refused(tmp_path / "short.npz")


def rewritten(saved, path, change):
    """The trace with other arrays in a sound archive."""
    with np.load(saved) as file:
        arrays = change(dict(file))
    np.savez_compressed(path, **arrays)
    return path


def with_head(arrays, **changes):
    head = {**json.loads(arrays["head"].tobytes()), **changes}
    return {**arrays, "head": np.frombuffer(json.dumps(head).encode(), np.uint8)}


def test_other_content_in_a_sound_archive_is_refused(saved, tmp_path, refused):
    changes = [
        lambda arrays: {**arrays, "score": arrays["score"] * np.float32(1.0000001)},
        lambda arrays: {**arrays, "child": arrays["child"].astype(np.int64)},
        lambda arrays: {**arrays, "known": arrays["right"][:-1]},
        lambda arrays: {**arrays, "more": arrays["right"]},
        lambda arrays: with_head(arrays, sha256="0" * 64),
    ]
    for change in changes:
        assert "damaged: its content is not what was written" in refused(rewritten(saved, tmp_path / "a.npz", change))


def hashed(arrays):
    """The arrays with a head that says so: what only a check of their meaning can tell."""
    return with_head(arrays, sha256=_hash({name: array for name, array in arrays.items() if name != "head"}))


def other(name, value, index=(slice(0, 1),)):
    def change(arrays):
        array = arrays[name].copy()
        array[index] = value
        return hashed({**arrays, name: array})

    return change


@pytest.mark.parametrize(
    "change",
    [
        other("child", 40),
        other("child", -1),
        other("root", 1000),
        other("confidence", 2),
        other("confidence", np.nan),
        other("score", np.inf),
        other("temperature", 0),
        other("temperature", np.nan),
        lambda arrays: hashed({**arrays, "score": arrays["score"].astype(np.float64)}),
        lambda arrays: hashed({**arrays, "known": arrays["known"][1:]}),
        lambda arrays: hashed({**arrays, "root": arrays["root"][:0]}),
        lambda arrays: hashed({**arrays, "root": np.zeros(9, np.int32)}),
        lambda arrays: hashed({name: array for name, array in arrays.items() if name != "right"}),
        *(lambda arrays, c=c: with_head(arrays, **c) for c in (
            {"videos": [[["a\0b", [0], 1]], []]}, {"videos": []}, {"videos": [[["a", [9], 1]] * 8, []]},
            {"frames": 10**9}, {"data": {}}, {"data": {**DATA, "source": "/a", "share": 0.5, "seed": -1}},
            {"model": None}, {"classes": []},
        )),
    ],
)  # fmt: skip
def test_content_without_a_meaning_is_refused(saved, tmp_path, refused, change):
    assert "damaged: what it holds is no trace" in refused(rewritten(saved, tmp_path / "a.npz", change))


def test_an_archive_that_inflates_beyond_the_limit_is_refused(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(trace_file, "LIMIT", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("score.npy", "w") as member:
            for _ in range(2):
                member.write(bytes(1 << 20))
    assert "not a trace of tlee-tune, or damaged" in refused(tmp_path / "bomb.npz")


def test_another_format_is_named(saved, tmp_path, refused):
    path = rewritten(saved, tmp_path / "a.npz", lambda arrays: with_head(arrays, format=3, sha256="?", frames="?"))
    assert "format 3, this release reads 2" in refused(path)


@pytest.mark.parametrize(
    "head", [b"", b"{", b"[]", b"3", b"{}", b'{"format": 2}', b"\xff", b"[" * 100_000], ids=lambda head: str(head[:15])
)
def test_an_archive_whose_head_is_none_is_refused(saved, tmp_path, refused, head):
    alien = {"head": np.frombuffer(head, np.uint8)}
    path = rewritten(saved, tmp_path / "a.npz", lambda arrays: {**arrays, **alien})
    assert "not a trace of tlee-tune" in refused(path)


def test_what_is_no_trace_is_refused(saved, tmp_path, refused):
    (tmp_path / "text").write_text("no trace")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", weights=np.zeros(3))
    for name in ("text", "array.npy", "other.npz"):
        assert "not a trace of tlee-tune" in refused(tmp_path / name)
    assert "a folder, not a file" in refused(tmp_path)
    assert "No such file" in refused(tmp_path / "none.npz")


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["head", "score", "more"])
def test_nothing_is_unpickled(saved, tmp_path, refused, name):
    traps = np.array([Trap(str(tmp_path / "sprung"))], object)
    path = rewritten(saved, tmp_path / "a.npz", lambda arrays: {**arrays, name: traps})
    assert "not a trace of tlee-tune, or damaged (ValueError)" in refused(path)
    np.save(tmp_path / "trap.npy", traps)
    (tmp_path / "trap").write_bytes(pickle.dumps(traps))
    assert "(BadZipFile)" in refused(tmp_path / "trap.npy") and "(BadZipFile)" in refused(tmp_path / "trap")
    assert not (tmp_path / "sprung").exists()
    with np.load(path, allow_pickle=True) as file:
        assert file[name].shape == (1,)
    assert (tmp_path / "sprung").exists()  # it would have


def test_a_trace_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        save_trace(tmp_path / "none" / "trace.npz", content())


@pytest.fixture
def changed(lively_bundle, tmp_path):
    """Amends a copy of a bundle; its fingerprint then."""
    bundle = lively_bundle()

    def change(amend):
        path = shutil.copytree(bundle.path, tmp_path / f"{len(os.listdir(tmp_path))}.tlee")
        copy = Bundle.open(path)
        with amend_bundle(copy) as writer:
            writer.finish({**copy.manifest, **(amend(writer, copy) or {})})
        return fingerprint(Bundle.open(path), "fp32")

    return change


def test_a_fingerprint_is_of_segments_frames_and_classes_alone(lively_bundle, changed):
    own = fingerprint(lively_bundle(), "fp32")
    thresholds = lively_bundle().manifest["exit_rule"]["thresholds"]
    measured = {"top1": 0.5, "top1_interval": [0.4, 0.6], "share_of_macs": 0.3}
    point = {"fast": {"thresholds": thresholds, "measured": measured}}
    assert changed(lambda writer, copy: None) == own
    assert changed(lambda writer, copy: {"exit_rule": {"thresholds": thresholds, "operating_points": point}}) == own

    def other_segment(writer, copy):
        writer.add(copy.segments["branch1"].file, copy.read("branch0"))

    def other_classes(writer, copy):
        return {"model": {**copy.manifest["model"], "labels": ["run", "walk", "jump"]}}

    def other_order(writer, copy):
        return {"frames": {**copy.manifest["frames"], "order": [3, 2, 1, 0]}}

    others = [changed(change) for change in (other_segment, other_classes, other_order)]
    assert len({own, *others}) == 4


def test_forms_of_another_precision_are_another_model(lively_bundle):
    with pytest.raises(UsageError, match="has no int8 variant"):
        fingerprint(lively_bundle(), "int8")


def test_another_sampling_is_another_fingerprint(lively_bundle):
    bundle = lively_bundle()
    own, other = (fingerprint(bundle.sampled(sampling), "fp32") for sampling in (None, "keyframes"))
    assert own == fingerprint(bundle.sampled(bundle.frames.sampling), "fp32") != other
