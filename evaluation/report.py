"""The report of an evaluation, plain values.

`videos.jsonl` has a line per video: `path`, `labels`, and under `modes`
for each mode `predicted`, `confidence`, `frame`, `exit` and `macs`. `report.json`, numbers from 0 to 1 where they are
shares, frames and exits counted from 0 in processing order:

    format                 1; another number where a key changes its meaning
    subject                path, kind (checkpoint, bundle), sha256 (of the checkpoint or of the manifest), name, parts,
                           frames (T), order, sampling, thresholds (per exit), full_macs (every frame to the tail)
    data                   source, format, split, videos in the list
    classes                K names
    videos                 how many were evaluated
    several_labels         whether some have several classes; naming any of them is right
    unreadable             path and problem of each video that was left out
    modes.NAME             top1, top1_interval (95 %, Wilson), top5 (null for up to 5 classes),
                           mean_average_precision (over the classes that occur), mean_frames, mean_exit_layer (where the
                           answer came), mean_frame_layer (where the used frames left), ran_to_last_frame, mean_macs,
                           share_of_macs (of the full computation), exit_histogram (videos by frame and exit, T x B + 1)
                           NAME of tlee.modes; of videos of three frames or fewer without what would be no exit
    fixed_exits            top1 and macs (T x B + 1): every frame leaves at this exit, this frame answers
    confusion              K x K videos by true (a video's first label) and predicted class, mode "early exits"
    per_class              of each first label: class, videos, top1, top1_no_exit, mean_frames, share_of_macs
    rivals.NAME            early exits against one frame, three frames, no exit, on the same videos: difference (of
                           top1) and its 95 % interval, only_first and only_second (videos that only early exits, or
                           only the rival, get right), cost_ratio (mean_macs of early exits in those of the rival)
    exit_faults            one_frame, all_frames: lines of text about exits that answer no better than chance when all
                           frames leave there
    branches               keep (numbers of the branches that bring something), suggestion (a line, null if that is all)
    tail_reached           how many videos have a frame that reaches the tail with early exits
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tlee.bundle import Bundle
from tlee.errors import InputError
from tlee.evaluation.results import Evaluation
from tlee.files import sha256
from tlee.manifest import MANIFEST
from tlee.reports.metrics import DIGITS

FORMAT = 1
PARTS = ("backbone", "branches", "branch", "frm", "gate", "classes")


def report_of(evaluation: Evaluation, subject: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """What `report.json` holds; `subject` is `EvaluatedModel.about()`, `data` where the videos came from."""
    head = {"format": FORMAT, "subject": subject, "data": data, "classes": evaluation.classes}
    return {**head, **evaluation.summary(), "unreadable": left_out(evaluation.unreadable)}


def about_bundle(bundle: Bundle) -> dict[str, Any]:
    """The facts of a bundle for a report: name, path, SHA-256 of its manifest, parts of its model, frames (T) and their
    sampling."""
    return {
        "name": bundle.name,
        "path": bundle.path,
        "sha256": sha256(Path(bundle.path, MANIFEST).read_bytes()),
        **{part: bundle.manifest["model"][part] for part in PARTS},
        "frames": bundle.frames.length,
        "sampling": bundle.frames.sampling,
    }


def left_out(unreadable: Mapping[Path, InputError]) -> list[dict[str, str]]:
    """Path and problem of videos that could not be read."""
    return [{"path": str(path), "problem": error.problem} for path, error in unreadable.items()]


def video_lines(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """A line of `videos.jsonl` for each video."""
    classes = evaluation.classes
    for i, entry in enumerate(evaluation.entries):
        modes = {
            mode: {
                "predicted": classes[answers.predicted[i]],
                "confidence": round(float(answers.probabilities[i].max()), DIGITS),
                "frame": int(answers.frame[i]),
                "exit": int(answers.exit[i]),
                "macs": int(answers.macs[i]),
            }
            for mode, answers in evaluation.modes.items()
        }
        yield {"path": str(entry.path), "labels": [classes[label] for label in entry.labels], "modes": modes}
