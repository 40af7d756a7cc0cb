"""INT8 for a bundle: forms of its segments and fused exits with Q/DQ pairs, calibration caches, a plan, and what they
change.

Ranges and plan come from the tuning videos alone, what is reported about them from the held-out ones alone.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from tqdm import tqdm

from tlee.activations import Activations
from tlee.bundle import FP32_ONLY, Bundle, amend_bundle
from tlee.calibration.int8.collect import SampleRecorder, Samples, collect, sampling_policy
from tlee.calibration.int8.fused_exits import FusedExitVariant, cache_of, clips_to_record, fused_exit_variants
from tlee.calibration.int8.measure import Answered, Measured, measure
from tlee.calibration.int8.plan import Chains, Comparison, Kept, Plan, Targets, find_plan
from tlee.calibration.int8.qdq import misplaced, quantised
from tlee.calibration.int8.ranges import tensor_ranges
from tlee.calibration.videos import Parts, VideoReader, check_part
from tlee.claims import CANNOT_WRITE, CHOOSE_FOLDER, claimed, remove, temporary_folder
from tlee.errors import BundleError, UsageError
from tlee.export.activations import add_activations, deviation, record
from tlee.policy import exit_policy
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.onnx_session import import_onnxruntime

FP32, INT8, PLAN = "fp32", "int8", "plan"  # nothing in INT8, everything that has a form, what the plan says
WITH, WITHOUT = "early exits", "no exit"
FORMS, CACHES = "variants/int8", "calibration/int8"
NO_WEIGHTS, NEVER_RUN, STAYS_FP32 = "no weights", "never run", "stays in float32"
RECORDED = "tuning videos"


@dataclass(frozen=True)
class Settings:
    """How to calibrate.

    Attributes:
        method: see `tlee.calibration.int8.ranges.tensor_ranges`.
        samples: sets of inputs of each segment.
        seed: draws them.
        point: the operating point whose exits are taken; None for the exit rule's own thresholds.
        early_exit: whether samples are taken with these exits as far as there are enough, or with none.
        targets: of the plan.
        threads: of ONNX Runtime; None for the number of cores this process may use.
    """

    method: str = "minmax"
    samples: int = 200
    seed: int = 0
    point: str | None = None
    early_exit: bool = True
    targets: Targets = Targets()
    threads: int | None = None


class Form(NamedTuple):
    """A segment in INT8."""

    model: bytes  # ONNX with Q/DQ pairs
    ranges: dict[str, float]  # largest magnitude by tensor
    given: int  # sets of inputs that the tuning videos gave it
    samples: int  # how many sets were looked at
    filled: int  # of the samples, how many are of when no exit is taken


@dataclass(frozen=True)
class Calibration:
    """What calibrating gave.

    Attributes:
        without: segments that have no form, and why: STAYS_FP32, NO_WEIGHTS or NEVER_RUN.
        fused exits: forms of fused exits, with what the plan and DELICATE keep in float32.
        activations: of some of the tuning videos, for the bundle.
        plan: found on the tuning videos, of which there were so many.
        held_out: under "FORM, EXITS" the answers of FP32, INT8 and, where that is something else, PLAN, WITH exits and
            WITHOUT.
    """

    settings: Settings
    forms: dict[str, Form]
    without: dict[str, str]
    fused_exits: dict[str, FusedExitVariant]
    activations: dict[str, np.ndarray]
    plan: Plan
    tuning_videos: int
    held_out: Measured

    def compared(self, form: str, exits: str) -> Comparison:
        """FP32, INT8 or PLAN beside FP32 with the same exits, on the held-out videos."""
        if form == PLAN and not self.plan.kept:
            form = INT8
        return self.held_out.compare(f"{form}, {exits}", f"{FP32}, {exits}")


def calibrate(bundle: Bundle, parts: Parts, reader: VideoReader, settings: Settings) -> Calibration:
    """Make the INT8 forms of a bundle, choose a plan, and measure both. Nothing is written into the bundle.

    Args:
        reader: afterwards names the videos that could not be read or gave no answer.

    Raises:
        UsageError: no such operating point, or too few videos.
        BundleError: a form is not what TensorRT takes.
        SegmentError: a value inside a segment is not finite.
    """
    forms, without = _make_forms(bundle, parts, reader, settings)
    chains = Chains(bundle, {name: form.model for name, form in forms.items()}, settings.threads)

    def walks(plans: Mapping[str, Sequence[str] | Kept], exits: str) -> dict[str, Answered]:
        return {name: Answered(chains.keeping(kept), _policy(bundle, settings, exits)) for name, kept in plans.items()}

    def compared(plans: Sequence[Kept]) -> dict[Kept, Comparison]:
        names = {str(sorted(kept)): kept for kept in plans}
        ways = walks({FP32: list(forms), **names}, WITH)
        found = measure(bundle, ways, "tuning", reader.tuning(parts.tuning, "choosing"), reader.unreadable)
        return {kept: found.compare(name, FP32) for name, kept in names.items()}

    activations = record(bundle, clips_to_record(parts, reader), OnnxBackend(bundle, settings.threads))
    plan = find_plan(list(forms), compared, settings.targets)
    plans: dict[str, list[str]] = {FP32: list(forms), INT8: []}
    if plan.kept:
        plans[PLAN] = plan.kept
    ways = {f"{name}, {exits}": w for exits in (WITH, WITHOUT) for name, w in walks(plans, exits).items()}
    held_out = measure(bundle, ways, "held-out", reader.held_out(parts.held_out, "reporting"), reader.unreadable)
    tuning_videos = sum(entry.path not in reader.unreadable for entry in parts.tuning.entries)
    fused_exits = fused_exit_variants(bundle, forms, plan.kept)
    return Calibration(settings, forms, without, fused_exits, activations, plan, tuning_videos, held_out)


def store(bundle: Bundle, calibration: Calibration, about: dict[str, Any]) -> None:
    """Write forms, caches, plan and activations into the bundle, in place of those it may have.

    Args:
        about: how they were made, for the manifest.

    Raises:
        BundleError: the bundle is no longer the one that was opened.
        UsageError: it cannot be written.
    """
    with amend_bundle(bundle) as writer:
        writer.remove(FORMS)
        writer.remove(CACHES)
        entries: dict[str, dict[str, Any]] = {}
        forms: dict[str, Form | FusedExitVariant] = {**calibration.forms, **calibration.fused_exits}
        for name, form in forms.items():
            entries[name] = {"file": f"{FORMS}/{name}.onnx", "cache": f"{CACHES}/{name}.cache"}
            writer.add(entries[name]["file"], form.model)
            writer.add(entries[name]["cache"], cache_of(form.ranges))
        int8 = {"graphs": entries, "excluded": calibration.plan.kept, "made": about}
        recorded = add_activations(writer, calibration.activations, RECORDED)
        variants = {**bundle.manifest["variants"], "int8": int8}
        manifest = {**bundle.manifest, "variants": variants, "activations": recorded}
        activations = Activations(writer.draft(manifest))
        for name, form in forms.items():
            entries[name]["deviation"] = deviation(activations, name, form.model, calibration.settings.threads)
        writer.finish(manifest)


def _make_forms(
    bundle: Bundle, parts: Parts, reader: VideoReader, settings: Settings
) -> tuple[dict[str, Form], dict[str, str]]:
    without = {name: NO_WEIGHTS for name, segment in bundle.segments.items() if not segment.macs}
    without.update({name: STAYS_FP32 for name in FP32_ONLY if name in bundle.segments})
    weighted = [name for name in bundle.segments if name not in without]
    with _folder_beside(bundle.path) as folder:
        samples, given = _samples(bundle, weighted, parts, reader, settings, folder)
        without.update({name: NEVER_RUN for name in weighted if not samples[name]})
        progress = tqdm([name for name in weighted if samples[name]], desc="ranges", disable=None, leave=False)
        return {name: _make_form(bundle, name, samples[name], given[name], settings) for name in progress}, without


def _samples(
    bundle: Bundle, names: Sequence[str], parts: Parts, reader: VideoReader, settings: Settings, folder: str
) -> tuple[dict[str, Samples], Counter[str]]:
    """Of each segment what the tuning videos give it, filled up with what they give it when no exit is taken; and how
    much of the former there was.

    A handful of inputs would do for the few videos that get deep, and ruin the answers of every other operating point.
    """
    backend = OnnxBackend(bundle, settings.threads)

    def record(wanted: dict[str, int], early_exit: bool, task: str) -> SampleRecorder:
        recorder = SampleRecorder(bundle, backend, os.path.join(folder, task), wanted, settings.seed)
        policy, videos = sampling_policy(bundle, settings.point, early_exit), reader.tuning(parts.tuning, task)
        check_part("tuning", collect(bundle, recorder, videos, policy, reader.unreadable), bundle.labels)
        return recorder

    first = record(dict.fromkeys(names, settings.samples), settings.early_exit, "sampling")
    samples = {name: first.samples(name) for name in names}
    missing = {name: settings.samples - len(samples[name]) for name in names if len(samples[name]) < settings.samples}
    if missing and settings.early_exit:
        rest = record(missing, False, "sampling without exits")
        samples.update({name: samples[name] + rest.samples(name) for name in missing})
    return samples, first.given


def _make_form(bundle: Bundle, name: str, samples: Samples, given: int, settings: Settings) -> Form:
    model = bundle.read(name)
    ranges = tensor_ranges(model, samples, settings.method)
    form = quantised(model, ranges)
    problems = ["nothing in it was quantised"] if form is None else misplaced(form)
    if form is None or problems:
        remedy = "its layers stand in an order that is not known here; report it with the model's configuration"
        raise BundleError(f"segment {name}", problems[0], remedy)
    return Form(form, ranges, given, len(samples), max(0, len(samples) - given))


def _policy(bundle: Bundle, settings: Settings, exits: str) -> Any:
    gate, thresholds = bundle.manifest["model"]["gate"], bundle.thresholds(settings.point)
    return exit_policy(gate, bundle.frames.length, thresholds, exits == WITH)


@contextlib.contextmanager
def _folder_beside(path: str) -> Iterator[str]:
    """A temporary folder where the amended bundle will be written: what fails there, fails before the work."""
    with claimed(path, folder=True) as place:
        try:
            folder = temporary_folder(place)
        except OSError as error:
            raise UsageError(path, CANNOT_WRITE.format(error.strerror), CHOOSE_FOLDER) from None
        try:
            yield folder
        finally:
            remove(folder)


def versions() -> dict[str, str]:
    """Of what makes and measures the forms."""
    return {"onnx": onnx.__version__, "onnxruntime": import_onnxruntime().__version__}
