"""The report of an INT8 calibration, plain values.

In `report.json` numbers are from 0 to 1 where they are shares, frames and exits are counted from 0 in processing order:

    format                 1; another number where a key changes its meaning
    subject                path, sha256 (of the manifest, before), name, parts, frames (T), sampling, order, point,
                           thresholds
    data                   source, format, split, seed, held_out (a source of its own, or null), share (of the source
                           that was held out, or null)
    calibration            method, samples (of each segment, at most), seed, early_exit (whether they were taken with
                           exits), versions
    targets                label_agreement (at least), top1_drop (at most)
    tuning                 videos; by `whole` (all in INT8), `alone.SEGMENT` (that segment alone), `planned` (null where
                           the plan keeps all) what is changed against float32, with early exits
    plan                   kept (segments in higher precision, most sensitive first), layers (by segment, the layers
                           in higher precision of those that have others in INT8), holds (whether the held-out videos
                           meet the targets), verdict (of the intervals there: `met`, `missed`, or `undecided`)
    held_out               videos, several_labels (whether some have several classes); by `forms.EXITS.FORM` what is
                           changed against float32. EXITS: early exits, no exit. FORM: fp32, int8, plan
    segments.NAME          form (true, or why there is none); macs (multiply-accumulates for one frame), int8_macs (of
                           these, in INT8 with the plan); given (sets of inputs with these exits), samples (looked at),
                           filled (of these, without exits), ranges (largest magnitude by tensor)
    unreadable             path and problem of each video that was left out
    repeated               held-out videos left out because their frames are those of a tuning video

What is changed is described at `tlee.calibration.int8.compare.ComparedAnswers.compare`.
"""

from __future__ import annotations

from typing import Any

import onnx

from tlee.bundle import Bundle
from tlee.calibration.int8.calibrate import FP32, INT8, PLAN, Calibration
from tlee.calibration.videos import VideoReader
from tlee.evaluation.report import about_bundle, left_out
from tlee.modes import EARLY, NONE
from tlee.runtime.onnx_session import import_onnxruntime

FORMAT = 1
# Of these, the manifest's.
SHORT = ("top1", "top1_interval", "label_agreement", "exit_agreement", "mean_frames", "int8_share")


def report_of(bundle: Bundle, calibration: Calibration, reader: VideoReader, data: dict[str, Any]) -> dict[str, Any]:
    """What `report.json` holds, with `data` on where the videos came from."""
    settings, plan, held_out = calibration.settings, calibration.plan, calibration.held_out
    segments: dict[str, dict[str, Any]] = {name: {"form": reason} for name, reason in calibration.without.items()}
    for name, graph in calibration.graphs.items():
        counts = {"given": graph.given, "samples": graph.samples, "filled": max(0, graph.samples - graph.given)}
        segments[name] = {"form": True, **counts, "ranges": graph.ranges}
    for name, entry in segments.items():
        entry["macs"], entry["int8_macs"] = bundle.segments[name].macs, calibration.int8_macs.get(name, 0)
    compared = {m: {v: calibration.compared(v, m) for v in (FP32, INT8, PLAN)} for m in (EARLY, NONE)}
    return {
        "format": FORMAT,
        "subject": {
            **about_bundle(bundle),
            "order": bundle.frames.order,
            "point": settings.point,
            "thresholds": bundle.thresholds(settings.point).as_dict(),
        },
        "data": data,
        "calibration": {
            **{key: getattr(settings, key) for key in ("method", "samples", "seed", "early_exit")},
            "versions": {"onnx": onnx.__version__, "onnxruntime": import_onnxruntime().__version__},
        },
        "targets": {"label_agreement": settings.targets.agreement, "top1_drop": settings.targets.drop},
        "tuning": {
            "videos": calibration.tuning_videos,
            "whole": plan.whole,
            "alone": plan.alone,
            "planned": plan.planned,
        },
        "plan": {
            "kept": plan.excluded,
            "layers": plan.layers,
            "holds": settings.targets.held(compared[EARLY][PLAN]),
            "verdict": settings.targets.verdict(compared[EARLY][PLAN]),
        },
        "held_out": {
            "videos": len(held_out.entries),
            "several_labels": any(len(entry.labels) > 1 for entry in held_out.entries),
            "forms": compared,
        },
        "segments": {name: segments[name] for name in bundle.segments},
        "unreadable": left_out(reader.unreadable),
        "repeated": sorted(map(str, reader.repeated)),
    }


def manifest_entry(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a report that the bundle's manifest carries: how its INT8 graphs were made, what they change."""
    with_exits, without = (report["held_out"]["forms"][exits] for exits in (EARLY, NONE))
    return {
        **report["calibration"],
        "point": report["subject"]["point"],
        "thresholds": report["subject"]["thresholds"],
        "targets": report["targets"],
        "tuning_videos": report["tuning"]["videos"],
        "held_out_videos": report["held_out"]["videos"],
        "layers": report["plan"]["layers"],
        "int8_share_without_exits": without[PLAN]["int8_share"],
        "measured": {variant: {key: found[key] for key in SHORT} for variant, found in with_exits.items()},
    }
