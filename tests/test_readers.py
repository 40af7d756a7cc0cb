"""Every reader of users' files takes damaged ones as it should: it reads them, or says in one line what is wrong."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import EXAMPLES, small_model
from helpers.measurement_reports import as_measured, example_report
from helpers.mutations import as_json, mutations, of_bytes, of_value, of_yaml

from tlee import cli
from tlee.errors import TleeError, printable

QUICK, FULL = 10, 2000
OWN = (EXAMPLES / "digits.yml").read_text(encoding="utf-8")
PUBLISHED = """
data:
  name: hmdb51
  num_frames: 10
  path_split: lists/train.txt
  preprocessing: &same
    resize: 256
    crop_center: 224
    normalize: {mean: [0.4, 0.4, 0.4], std: [0.2, 0.2, 0.2]}
data_val: {name: hmdb51, num_frames: 10, path_split: lists/val.txt, num_workers: 4, preprocessing: *same}
model:
  name: mobilenetv2
  branch_num: 3
  crm_num: 3
  branch_scale: 1
  backbone: {name: a.a, pretrained: true}
  useFeatureFunc: mp
  useGateFunc: gm
  schedule: [10, 20]
  epochs: 25
  input_order10: [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
checkpoint: {init: model_best.pth.tar}
train_mode: 1.1
b: 0.05
"""
Case = tuple[str, Callable[[Path], object], list[bytes] | Iterator[bytes]]  # file name, reader, contents


def texts(good: str, count: int) -> Iterator[bytes]:
    for text in mutations(good, of_yaml, count):
        yield text.encode("utf-8", "surrogatepass")
    yield from mutations(good.encode(), of_bytes, count // 4)


def values(good: object, count: int) -> Iterator[bytes]:
    yield from map(as_json, mutations(good, of_value, count))
    yield from mutations(as_json(good), of_bytes, count // 4)


def own_yaml(folder: Path, count: int) -> Case:
    from tlee.models.model import check_parts
    from tlee.training.cli import load

    return "a.yml", lambda path: check_parts(path, load(str(path), [])), texts(OWN, count)


def set_values(folder: Path, count: int) -> Case:
    from tlee.training.cli import load

    (folder / "own.yml").write_text(OWN, encoding="utf-8")

    def read(path: Path) -> object:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        return load(str(folder / "own.yml"), [text])

    return "value", read, texts("stages=[{stage: joint, epochs: 3, batch: 8}]", count)


def published_yaml(folder: Path, count: int) -> Case:
    from tlee.training.convert import command

    arguments = ["-o", str(folder / "own.yml")]
    return "p.yml", lambda path: run("tlee-convert", command, [str(path), *arguments]), texts(PUBLISHED, count)


def model_yaml(folder: Path, count: int) -> Case:
    from tlee.models.published_config import load_model_config

    return "p.yml", load_model_config, texts(PUBLISHED, count)


def checkpoint(folder: Path, count: int) -> Case:
    from tlee.models.checkpoint import load_checkpoint, save_checkpoint

    save_checkpoint(folder / "good.safetensors", small_model())
    whole = (folder / "good.safetensors").read_bytes()
    return "a.safetensors", load_checkpoint, headers(whole, "tlee", count)


def state(folder: Path, count: int) -> Case:
    from tlee.models.model import Tlee
    from tlee.training.run_folder import STATE, Progress, RunFolder, check_state

    model: Tlee = small_model()
    run_folder = RunFolder(folder)
    momentum = {name: torch.zeros_like(value) for name, value in list(model.named_parameters())[:3]}
    run_folder.save_state(Progress(epochs=3, loss=0.5), model.state_dict(), momentum)

    def read(path: Path) -> None:
        _, entries, momentum = run_folder.load_state() or (None, {}, {})
        check_state(path, model, entries, momentum)
        model.load_state_dict(entries)

    return STATE, read, headers((folder / STATE).read_bytes(), "tlee-state", count)


def headers(whole: bytes, key: str, count: int) -> Iterator[bytes]:
    """Mutations of a safetensors file: of its bytes, of its header's values, and of what it says of the model."""
    length = struct.unpack("<Q", whole[:8])[0]
    header, tensors = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    yield from mutations(whole, of_bytes, count // 4)
    for changed in mutations(header, of_value, count // 2):
        yield struct.pack("<Q", len(as_json(changed))) + as_json(changed) + tensors
    for about in mutations(json.loads(header["__metadata__"][key]), of_value, count // 2):
        changed = {**header, "__metadata__": {key: json.dumps(about)}}
        yield struct.pack("<Q", len(as_json(changed))) + as_json(changed) + tensors


def pth_tar(folder: Path, count: int, **options: bool) -> Case:
    from tlee.models.published import load_published, published_names

    model = small_model()
    names = published_names(model)
    saved = {names[ours]: value for ours, value in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({"state_dict": saved, "best_prec1": np.float64(0.5), "epoch": 3}, content, **options)
    return "a.pth.tar", lambda path: load_published(path, model.config), pickles(content.getvalue(), count)


def old_pth_tar(folder: Path, count: int) -> Case:
    return pth_tar(folder, count, _use_new_zipfile_serialization=False)


def pickles(whole: bytes, count: int) -> Iterator[bytes]:
    """Mutations at the beginning, where pickles are, and at the end, where an archive's list is."""
    yield from mutations(whole, of_bytes, count // 2)
    for start in mutations(whole[:20_000], of_bytes, count // 4):
        yield start + whole[20_000:]
    for end in mutations(whole[-6000:], of_bytes, count // 4):
        yield whole[:-6000] + end


def trace(folder: Path, count: int) -> Case:
    from tlee.calibration.thresholds.trace import Trace
    from tlee.calibration.thresholds.trace_file import TraceFile, load_trace, save_trace
    from tlee.calibration.videos import Parts
    from tlee.data.labelled.listing import Entry, Listing

    draw, shape = np.random.default_rng(0), (40, 3)
    share, yes = draw.random(shape).astype(np.float32), draw.random(shape) < 0.5
    content = Trace(np.arange(0, 40, 5, np.int32), draw.integers(0, 40, shape).astype(np.int32), yes, share, share, yes)
    videos = Listing([Entry(Path(f"{i}.mp4"), (i % 3,)) for i in range(8)], ["a", "b", "c"], flips=False, notes=[])
    data = {"source": "s", "format": "folders", "split": "val", "share": 0.5, "held_out": None, "seed": 0}
    parts = TraceFile("0" * 64, "fp32", 4, content, np.ones(3), np.zeros((2, 3)), Parts(videos, videos), data)
    save_trace(folder / "good.npz", parts)
    return "a.npz", load_trace, archives(folder / "good.npz", count)


def archives(path: Path, count: int) -> Iterator[bytes]:
    from tlee.calibration.thresholds.trace_file import _hash

    yield from mutations(path.read_bytes(), of_bytes, count // 4)
    with np.load(path) as file:
        arrays = dict(file)
    for head in mutations(json.loads(arrays["head"].tobytes()), of_value, count // 2):
        yield packed({**arrays, "head": np.frombuffer(as_json(head), np.uint8)})
    for i, (name, array) in enumerate(list(arrays.items()) * (count // 2 // len(arrays))):
        content = next(mutations(array.tobytes(), of_bytes, 1, seed=i))
        content = content[: len(content) // array.itemsize * array.itemsize]
        changed = {**arrays, name: np.frombuffer(content, array.dtype)}
        if len(content) == array.nbytes:
            changed[name] = changed[name].reshape(array.shape)
        with contextlib.suppress(ValueError):
            hashes = {"sha256": _hash({name: array for name, array in changed.items() if name != "head"})}
            head = {**json.loads(changed["head"].tobytes()), **hashes}
            changed["head"] = np.frombuffer(as_json(head), np.uint8)
        yield packed(changed)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def text_list(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import read_listing

    good = "".join(f"v_{i}_g01 {30 + i} {i % 51}\n" for i in range(20))
    return "list.txt", lambda path: read_listing("hmdb51", path), mutations(good.encode(), of_bytes, count)


def ucf101_split(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import read_listing

    good = "".join(f"Archery/v_Archery_g{i:02}_c01.avi{' 1' * (i % 2)}\n" for i in range(20))
    (folder / "classInd.txt").write_text("1 Archery\n2 Bowling\n")
    return "list.txt", lambda path: read_listing("ucf101", path), mutations(good.encode(), of_bytes, count)


def hmdb51_split(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import read_listing

    good = "".join(f"A_(2)_wave_u_{i}.avi {i % 3} \n" for i in range(20))
    name = "wave_test_split1.txt"
    return name, lambda path: read_listing("hmdb51", folder / "split1"), mutations(good.encode(), of_bytes, count)


def recordings(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import Entry, Listing
    from tlee.data.labelled.recordings import given_recordings

    listing = Listing([Entry(folder / f"{i}.mp4", (0,)) for i in range(20)], ["run"], False, [], folder)
    good = "".join(f"{i}.mp4 day{i % 3}\n" for i in range(20))
    return (
        "recordings.txt",
        lambda path: given_recordings(listing, str(path)),
        mutations(good.encode(), of_bytes, count),
    )


def table_list(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import read_listing

    row = '"class {}, b",abc{},{},{},train,0\n'
    good = "label,youtube_id,time_start,time_end,split,is_cc\n" + "".join(row.format(*[i] * 4) for i in range(20))
    return "list.csv", lambda path: read_listing("minikinetics", path), mutations(good.encode(), of_bytes, count)


def json_list(folder: Path, count: int) -> Case:
    from tlee.data.labelled.listing import read_listing

    videos = {f"v{i}": {"subset": "training", "annotations": [{"label": "a"}, {"label": "b"}]} for i in range(5)}
    return "list.json", lambda path: read_listing("activitynet1.3", path), values({"database": videos}, count)


def label_file(folder: Path, count: int) -> Case:
    from tlee.data.labelled.class_names import read_class_names
    from tlee.data.labelled.listing import read_listing

    (folder / "list.txt").write_text("a 3 0\nb 3 2\n")

    def read(path: Path) -> object:
        with contextlib.suppress(TleeError):
            read_class_names(path, 3)
        return read_listing("hmdb51", folder / "list.txt", labels=path)

    return "labels.txt", read, mutations(b"1 ApplyEyeMakeup\n2 Archery\n3 Baby Crawling\n", of_bytes, count)


def json_labels(folder: Path, count: int) -> Case:
    _, read, _ = label_file(folder, count)
    return "labels.json", read, values({"a b": "0", "c": "1", "d": "2"}, count)


def report(folder: Path, count: int) -> Case:
    from tlee.reports.cli import command

    good = as_measured(example_report(modes=("early exits",), rounds=1, seconds=0.3, videos=5))
    (folder / "good.json").write_bytes(as_json(good))

    def read(path: Path) -> None:
        run("tlee-report", command, [str(path), "--profile", str(folder / "costs.json")])
        run("tlee-report", command, [str(folder / "good.json"), str(path)])

    return "report.json", read, values(good, count)


def profile(folder: Path, count: int) -> Case:
    from tlee.calibration.thresholds.costs import metric_of

    names = ["split0", "branch0", "split1", "tail", "head"]
    cost = {"milliseconds": 1.5, "millijoules": 8.0, "macs": 1000}
    good = {"format": 1, "device": "a board", "graphs": {name: cost for name in [*names, "frame"]}}
    bundle: Any = SimpleNamespace(chain=lambda exit_graphs: names, graph=lambda name: SimpleNamespace(macs=1000))

    def read(path: Path) -> None:
        metric_of(bundle, str(path), "ms")
        metric_of(bundle, str(path), "mJ")

    return "costs.json", read, values(good, count)


def metrics(folder: Path, count: int) -> Case:
    from tlee.training.run_folder import METRICS, RunFolder

    row = {"event": "epoch", "step": 3, "stage": "joint", "epoch": 1, "loss": 0.5, "val_loss": 0.6, "score": 1.0}
    good = b"".join(as_json({**row, "val_accuracy": [[0.5, 0.5], [0.5, 0.75]]}) + b"\n" for _ in range(3))
    return METRICS, lambda path: RunFolder(folder).epochs(), mutations(good, of_bytes, count)


def picture(folder: Path, count: int, kind: str) -> Case:
    from tlee.data.pictures import read_picture

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # as commands do, before they import it
    drawn = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8), (0, 0), 2)
    good = cv2.imencode(kind, drawn)[1].tobytes()
    return f"a{kind}", lambda path: read_picture(str(path), cv2), mutations(good, of_bytes, count)


def run(program: str, command: Callable, arguments: list[str]) -> None:
    """A command in this process: it succeeds, or ends with one line."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as told:
        status = cli.run(program, command, arguments)
    lines = told.getvalue().splitlines()
    assert all(line == printable(line) for line in said.getvalue().split("\n"))
    assert status == cli.OK or len(lines) == 1
    assert all(line.startswith(f"{program}: ") and line == printable(line) and len(line) < 2000 for line in lines)


KINDS: dict[str, Callable[[Path, int], Case]] = {
    kind.__name__: kind
    for kind in (
        *(own_yaml, set_values, published_yaml, model_yaml, checkpoint, state, pth_tar, old_pth_tar, trace),
        *(
            text_list,
            ucf101_split,
            hmdb51_split,
            recordings,
            table_list,
            json_list,
            label_file,
            json_labels,
            report,
            profile,
            metrics,
        ),
    )
}
for ending in (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm"):
    KINDS[ending] = lambda folder, count, kind=ending: picture(folder, count, kind)


@pytest.mark.parametrize("count", [QUICK, pytest.param(FULL, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, capfd, kind, count):
    name, read, contents = KINDS[kind](tmp_path, count)
    given = refused = 0
    for content in contents:
        (tmp_path / name).write_bytes(content)
        given += 1
        try:
            read(tmp_path / name)
        except TleeError as error:
            refused += 1
            assert str(error) == printable(error) and len(str(error)) < 2000
    assert given >= count // 2 and (refused or kind in ("report", "published_yaml"))
    assert capfd.readouterr() == ("", "")
