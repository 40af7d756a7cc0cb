"""INT8 for a bundle: graphs of its segments and fused exits with Q/DQ pairs, calibration caches, a plan, and how they
change its answers.

Ranges and plan come from the tuning videos alone, the reported measurements from the held-out ones alone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from tlee.activations import Activations
from tlee.bundle import Bundle
from tlee.calibration.int8.collect import SampleRecorder, collect, sampling_policy
from tlee.calibration.int8.compare import ComparedAnswers, Comparison, Configuration, answer_videos
from tlee.calibration.int8.plan import Floats, Plan, PlannedChains, Targets, find_plan
from tlee.calibration.int8.qdq import Int8Graph, fused_exit_graphs
from tlee.calibration.int8.segment import PreparedSegment, prepare
from tlee.calibration.videos import Parts, VideoReader, Videos, check_part
from tlee.errors import writing
from tlee.export.activations import SAMPLES, add_activations, deviation, record
from tlee.export.bundle_writer import amend_bundle
from tlee.locks import remove, temporary_folder, write_lock
from tlee.manifest import FP32_ONLY
from tlee.modes import EARLY, NONE
from tlee.policy import exit_policy
from tlee.runtime.onnx_backend import OnnxBackend

FP32, INT8, PLAN = "fp32", "int8", "plan"  # nothing in INT8, all that has an INT8 graph, what the plan leaves
GRAPHS, CACHES = "variants/int8", "calibration/int8"
NO_WEIGHTS, NEVER_RUN, STAYS_FP32 = "no weights", "never run", "stays in float32"
Plans = Mapping[str, Collection[tuple[str, str]]]  # by name the layers in float, see `tlee.calibration.int8.plan`


@dataclass(frozen=True)
class Settings:
    """How to calibrate."""

    method: str = "minmax"  # see `tlee.calibration.int8.ranges.tensor_ranges`
    samples: int = 200  # sets of inputs of each segment
    seed: int = 0  # draws them
    point: str | None = None  # operating point whose exits are taken; None for the exit rule's own thresholds
    early_exit: bool = True  # whether samples are taken with these exits as far as there are enough, or with none
    targets: Targets = Targets()  # of the plan
    threads: int | None = None  # of ONNX Runtime; None for the number of cores this process may use


@dataclass(frozen=True)
class Calibration:
    """The result of a calibration."""

    settings: Settings
    graphs: dict[str, Int8Graph]  # of segments, with the layers in float that the plan keeps there
    int8_macs: dict[str, int]  # multiply-accumulates that the plan has in INT8, of the segments that have some
    without: dict[str, str]  # segments that have none, and why: STAYS_FP32, NO_WEIGHTS or NEVER_RUN
    fused_exits: dict[str, Int8Graph]  # with what the plan excludes and FP32_ONLY in float32
    activations: dict[str, np.ndarray]  # of some of the tuning videos, for the bundle
    plan: Plan  # found on the tuning videos
    tuning_videos: int  # how many these were
    # Under "VARIANT, MODE": FP32, INT8 and, where it keeps something in float, PLAN, with EARLY exits and with NONE.
    held_out: ComparedAnswers

    def compared(self, variant: str, mode: str) -> Comparison:
        """FP32, INT8 or PLAN against FP32 in the same mode, on the held-out videos."""
        if variant == PLAN and not self.plan.floats:
            variant = INT8
        return self.held_out.compare(f"{variant}, {mode}", f"{FP32}, {mode}")


def calibrate(bundle: Bundle, parts: Parts, reader: VideoReader, settings: Settings) -> Calibration:
    """Make the INT8 graphs of a bundle, choose a plan, and measure both. Nothing is written into the bundle.

    Afterwards `reader` names the videos that could not be read or gave no answer.

    Raises:
        UsageError: no such operating point, or too few videos.
        BundleError: TensorRT would not take an INT8 graph.
        SegmentError: a value inside a segment is not finite.
    """
    fp32 = OnnxBackend(bundle, settings.threads)
    segments, without = _prepared_segments(bundle, fp32, parts, reader, settings)
    chains = PlannedChains(bundle, fp32, segments, settings.threads)
    gate, thresholds = bundle.manifest["model"]["gate"], bundle.thresholds(settings.point)
    everything = frozenset((name, layer) for name, own in segments.items() for layer in own.macs)

    def answers(plans: Plans, modes: Sequence[str], part: str, videos: Videos) -> ComparedAnswers:
        configurations = {}
        for mode in modes:
            for name, floats in plans.items():
                policy = exit_policy(gate, bundle.frames.length, thresholds, mode == EARLY)
                own = Configuration(chains.chain(floats), policy, chains.int8_macs(floats))
                configurations[f"{name}, {mode}"] = own
        return answer_videos(bundle, configurations, part, videos, reader.unreadable)

    def compare(plans: Sequence[Floats]) -> dict[Floats, Comparison]:
        named = {str(number): floats for number, floats in enumerate(plans)}
        found = answers({FP32: everything, **named}, [EARLY], "tuning", reader.tuning(parts.tuning, "choosing"))
        return {floats: found.compare(f"{name}, {EARLY}", f"{FP32}, {EARLY}") for name, floats in named.items()}

    entries = [entry for entry in parts.tuning.entries if entry.path not in reader.unreadable]
    recorded = replace(parts.tuning, entries=[entries[len(entries) * i // SAMPLES] for i in range(SAMPLES)])
    activations = record(bundle, (frames for _, frames in reader.tuning(recorded, "recording")), fp32)
    plan = find_plan(segments, compare, settings.targets)
    plans: Plans = {FP32: everything, INT8: (), **({PLAN: plan.floats} if plan.floats else {})}
    held_out = answers(plans, [EARLY, NONE], "held-out", reader.held_out(parts.held_out, "reporting"))
    tuning_videos = sum(entry.path not in reader.unreadable for entry in parts.tuning.entries)
    # A graph also of what the plan excludes: which segments to use is written beside them.
    graphs = chains.graphs([place for place in plan.floats if place[0] not in plan.excluded])
    int8_macs = chains.int8_macs(plan.floats)
    fused_exits = fused_exit_graphs(bundle, graphs, plan.excluded)
    return Calibration(settings, graphs, int8_macs, without, fused_exits, activations, plan, tuning_videos, held_out)


def store(bundle: Bundle, calibration: Calibration, about: dict[str, Any]) -> None:
    """Write graphs, caches, plan and activations into the bundle, in place of those it may have, and for the manifest
    how they were made. Raises as `amend_bundle`."""
    graphs = {**calibration.graphs, **calibration.fused_exits}
    entries: dict[str, dict[str, Any]] = {}
    with amend_bundle(bundle) as writer:
        writer.remove(GRAPHS)
        writer.remove(CACHES)
        for name, graph in graphs.items():
            file, cache = f"{GRAPHS}/{name}.onnx", f"{CACHES}/{name}.cache"
            entries[name] = {"file": writer.add(file, graph.model), "cache": writer.add(cache, graph.cache())}
        int8 = {"graphs": entries, "excluded": calibration.plan.excluded, "made": about}
        recorded = add_activations(writer, calibration.activations, "tuning videos")
        variants = {**bundle.manifest["variants"], "int8": int8}
        manifest = {**bundle.manifest, "variants": variants, "activations": recorded}
        activations = Activations(writer.draft(manifest))
        for name, graph in graphs.items():
            entries[name]["deviation"] = deviation(activations, name, graph.model, calibration.settings.threads)
        writer.finish(manifest)


def _prepared_segments(
    bundle: Bundle, fp32: OnnxBackend, parts: Parts, reader: VideoReader, settings: Settings
) -> tuple[dict[str, PreparedSegment], dict[str, str]]:
    """What INT8 graphs are made from, by samples on the tuning videos, and the segments without, with the reason."""
    without = {name: NO_WEIGHTS for name, segment in bundle.segments.items() if not segment.macs}
    without.update({name: STAYS_FP32 for name in FP32_ONLY if name in bundle.segments})
    weighted, prepared = [name for name in bundle.segments if name not in without], {}

    def sampled(wanted: dict[str, int], early_exit: bool, task: str) -> SampleRecorder:
        recorder = SampleRecorder(bundle, fp32, os.path.join(folder, task), wanted, settings.seed)
        policy, videos = sampling_policy(bundle, settings.point, early_exit), reader.tuning(parts.tuning, task)
        check_part("tuning", collect(bundle, recorder, videos, policy, reader.unreadable), bundle.labels)
        return recorder

    with write_lock(bundle.path, folder=True) as place:
        with writing(bundle.path):
            folder = temporary_folder(place)  # where the amended bundle will be: what fails there, fails now
        try:
            first = sampled(dict.fromkeys(weighted, settings.samples), settings.early_exit, "sampling")
            samples = {name: first.samples(name) for name in weighted}
            missing = {name: settings.samples - len(own) for name, own in samples.items()}
            missing = {name: count for name, count in missing.items() if count}
            if missing and settings.early_exit:
                # A handful of inputs would do for the few videos that get deep, and ruin the answers of every other
                # operating point.
                rest = sampled(missing, False, "sampling without exits")
                samples.update({name: samples[name] + rest.samples(name) for name in missing})
            without.update({name: NEVER_RUN for name in weighted if not samples[name]})
            for name in tqdm([n for n in weighted if samples[n]], desc="ranges", disable=None, leave=False):
                prepared[name] = prepare(name, bundle.read(name), samples[name], first.given[name], settings.method)
        finally:
            remove(folder)
    return prepared, without
