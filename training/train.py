"""One training run: the configured stages in order, resumable after any step.

Distribution and mixed precision are Lightning Fabric's: it leaves the loop to us, starts or finds its processes (alone,
under torchrun, under SLURM), and adds nothing to the models.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlee.cli import report
from tlee.data.labelled.cache import frame_memory
from tlee.data.labelled.listing import Listing
from tlee.data.labelled.loader import (
    Batch,
    ClipDataset,
    ShuffledSampler,
    derived_seed,
    evaluation_batches,
    training_batches,
)
from tlee.errors import UsageError
from tlee.files import atomic_write
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.model import Tlee
from tlee.reports.training_plots import accuracy_plot, loss_plot
from tlee.training.batchnorm import synchronise
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.faults import faults_on_one_frame
from tlee.training.features import FeatureModule, FixedFeatures, are_fixed, feature_bytes, featured, variants
from tlee.training.forecast import Forecast, about, planned_work
from tlee.training.log import EpochProgress, say
from tlee.training.run_folder import ACCURACY_PLOT, BEST, LAST, LOSS_PLOT, STATE, Progress, RunFolder, check_state
from tlee.training.schedule import fitting_batch, learning_rate, optimiser_of
from tlee.training.stages import STAGES, StageModule, across, validate
from tlee.training.starting_weights import initialise
from tlee.training.videos import UnreadableVideos, cache_frames, fill_caches

PROGRAM = "tlee-train"
LOG_STEPS = 10  # the loss is read from the device and recorded after so many
VALIDATION_BATCH = 16
MOMENTUM = "momentum_buffer"  # torch's name


class StageRun(NamedTuple):
    """What one stage trains with."""

    config: StageConfig
    parts: list[nn.Module]  # those that learn
    local: StageModule
    module: _FabricModule  # the same, distributed
    optimiser: torch.optim.Optimizer
    learning: dict[str, nn.Parameter]
    sampler: ShuffledSampler
    versions: int | None  # of each video, where its features are fixed
    batches: Iterable[Batch]
    validation: Iterable[Batch]


class Trainer:
    """Trains a model on the videos of two listings into a run folder. Fabric is launched."""

    def __init__(self, config: TrainingConfig, train: Listing, val: Listing, folder: RunFolder, fabric: Fabric) -> None:
        self.config, self.folder, self.fabric = config, folder, fabric
        spec, fail = config.frame_spec(), config.data.unreadable == "fail"
        self._clips = ClipDataset(train, spec, config.data.augment, config.seed)
        self._val_clips = ClipDataset(val, spec)
        self._processes = getattr(fabric.strategy, "num_processes", 1)  # on this machine
        self._cores = max(1, len(os.sched_getaffinity(0)) // self._processes)
        kept = cache_frames(config.data.cache, [self._clips, self._val_clips], self._processes)
        self._workers = (0 if kept else self._cores) if config.data.workers is None else config.data.workers
        self._ranks = fabric.global_rank, fabric.world_size
        self._validation = evaluation_batches(self._val_clips, VALIDATION_BATCH, self._workers, *self._ranks)
        self._unreadable = UnreadableVideos("train", self._clips, fabric, fail)
        self._unreadable_val = UnreadableVideos("val", self._val_clips, fabric, fail)
        torch.manual_seed(config.seed)
        self.model = Tlee(config.for_model(train.classes))
        self.progress = Progress()
        sizes = len(train.entries), len(val.entries)
        self._forecast = Forecast([planned_work(self.model, stage, *sizes) for stage in config.stages])

    def run(self) -> Tlee:
        """Train to the end, from the start or from the folder's state. Returns the best model, in eval mode.

        Raises:
            UsageError: starting weights cannot be had, the batch does not fit the processes, the loss is no longer a
                number, or the folder cannot be written.
            InputError: a video cannot be read, and the configuration lets this end the run.
        """
        saved = self.folder.load_state()
        momentum: dict[str, Tensor] = {}
        if saved:
            self.progress, entries, momentum = saved
            check_state(self.folder.path / STATE, self.model, entries, momentum)
            self.model.load_state_dict(entries)
        else:
            self._print(initialise(self.model, self.config.init))
        if self.fabric.world_size > 1:
            synchronise(self.model, self.fabric.device.type)
        self.fabric.to_device(self.model)
        self.folder.open_metrics(self.progress)
        stages = self.config.stages[self.progress.stage :]
        if stages and (summary := fill_caches([self._clips, self._val_clips], self._cores, self.folder.writes)):
            self._print(summary)
        for config in stages:
            self._train_stage(config, momentum)
            momentum = {}
        if stages:
            for fault in faults_on_one_frame(self.fabric, self.model, self._validation, self._val_clips.listing):
                self._print(f"one frame: {fault}")
        for videos in (self._unreadable, self._unreadable_val):
            if summary := videos.summary():
                self._print(summary)
        if self.folder.writes:
            plot_run(self.folder)
        self.folder.close()
        return self.model.eval()

    def _train_stage(self, config: StageConfig, momentum: dict[str, Tensor]) -> None:
        progress, patience = self.progress, config.patience or math.inf
        stage = self._set_up(config, momentum)
        while progress.epoch < config.epochs and progress.waited < patience:
            begun = time.monotonic()
            whole = progress.step == 0
            self._train_epoch(stage)
            self._end_epoch(stage, begun if whole else None)
            self._save_state(stage)
        if progress.epoch < config.epochs:
            self._print(f"{config.stage}: no better for {progress.waited} epochs, ended after {progress.epoch}")
        self.fabric.barrier()  # until the best is written
        self.model.load_state_dict(load_checkpoint(self.folder.path / BEST).state_dict())
        self.folder.record(progress, "stage", {"stage": config.stage, "epochs": progress.epoch, "score": progress.best})
        planned = sum(stage.epochs for stage in self.config.stages[: progress.stage + 1])
        kept = {"steps": progress.steps, "metrics": progress.metrics}
        self.progress = Progress(stage=progress.stage + 1, epochs=planned, **kept)
        self.folder.save_state(self.progress, self.model.state_dict(), {})

    def _set_up(self, config: StageConfig, momentum: dict[str, Tensor]) -> StageRun:
        kind, fabric = STAGES[config.stage], self.fabric
        clips = self._clips.single_frames() if kind.single else self._clips
        batch = fitting_batch(config, len(clips), fabric.world_size)
        sampler = ShuffledSampler(len(clips), batch, config.accumulate, self.config.seed, *self._ranks)
        frozen = self.model.backbone if config.freeze_backbone else None
        parts = [part for part in kind.parts(self.model) if part is not frozen]
        self.model.requires_grad_(False).eval()
        for part in parts:
            part.requires_grad_(True)
        learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        optimiser = optimiser_of(self.model, learning, config)
        for name, value in momentum.items():
            if name in learning:
                optimiser.state[learning[name]][MOMENTUM] = torch.empty_like(learning[name]).copy_(value)
        versions = variants(config.epochs) if are_fixed(learning) else None
        kept = versions and self._have_room(versions * len(clips) + len(self._val_clips))
        local = FeatureModule(self.model, config) if kept else StageModule(self.model, config)
        module, wrapped = fabric.setup(local, optimiser)
        if versions and kept:
            batches, validation = self._features(clips, versions, sampler)
        else:
            batches, validation = training_batches(clips, sampler, self._workers), self._validation
        return StageRun(config, parts, local, module, wrapped, learning, sampler, versions, batches, validation)

    def _have_room(self, videos: int) -> bool:
        """Whether every process can keep so many videos' features."""
        missing = feature_bytes(self.model, videos) > frame_memory() // self._processes
        return not across(self.fabric, torch.tensor(int(missing)), "sum")

    def _features(
        self, clips: ClipDataset, versions: int, sampler: ShuffledSampler
    ) -> tuple[Iterable[Batch], Iterable[Batch]]:
        """Batches of features to train on and to validate with."""
        first, made = self.progress.epochs - self.progress.epoch, partial(featured, self.fabric, self.model)
        epochs = range(first, first + versions)
        shares = [made(evaluation_batches(clips, VALIDATION_BATCH, self._workers, *self._ranks, e)) for e in epochs]
        return FixedFeatures(self.fabric, shares, len(clips), first, sampler), [*made(self._validation)]

    def _train_epoch(self, stage: StageRun) -> None:
        """The rest of the epoch's steps."""
        progress, config, steps = self.progress, stage.config, stage.sampler.steps
        for part in stage.parts:
            part.train()
        if config.freeze_norm:
            for module in self.model.backbone.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        first = progress.epochs - progress.epoch
        variant = first + progress.epoch % stage.versions if stage.versions else None
        stage.sampler.seek(progress.epochs, progress.step, variant)
        batches, begun = iter(stage.batches), time.perf_counter() - progress.seconds
        pending: list[Tensor] = []  # losses not yet read from the device, which would wait for it
        name = f"{config.stage} {progress.epoch + 1}/{config.epochs}"
        with EpochProgress(name, steps, progress.step, self.folder.writes) as shown:
            for step in range(progress.step, steps):
                rate = learning_rate(config, progress.epoch, step, steps)
                pending.append(self._step(stage, rate, batches))
                progress.step, progress.steps = step + 1, progress.steps + 1
                saves = progress.steps % self.config.save_steps == 0
                if saves or progress.step % LOG_STEPS == 0 or progress.step == steps:
                    progress.loss += sum(float(loss) for loss in pending)
                    progress.seconds = time.perf_counter() - begun
                    pending = []
                    mean = self._mean(progress.loss) / progress.step
                    self._check_loss(config, mean)
                    values = {"stage": config.stage, "epoch": progress.epoch + 1, "loss": mean, "learning_rate": rate}
                    self.folder.record(progress, "step", values)
                    shown.loss(mean)
                if saves and progress.step < steps:
                    self._save_state(stage)
                shown.advance()

    def _step(self, stage: StageRun, rate: float, batches: Iterator[Batch]) -> Tensor:
        """One step of the optimiser. Returns this process's loss."""
        # Each step has a seed of its own, so that a run can be resumed at any.
        torch.manual_seed(derived_seed(self.config.seed, self.progress.steps, self.fabric.global_rank))
        for group in stage.optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        stage.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.fabric.device)
        parts = stage.config.accumulate
        for part in range(parts):
            batch = next(batches)
            self._unreadable.add(batch.unreadable)
            self._unreadable.fail_now(batch.unreadable)
            if not batch.targets.any(1).all():  # no other video could take its place
                raise self._unreadable.nothing_left()
            frames, targets = self.fabric.to_device((batch.frames, batch.targets))
            with self.fabric.no_backward_sync(stage.module, enabled=part < parts - 1):
                loss = stage.module(frames, targets) / parts
                self.fabric.backward(loss)
            total += loss.detach()
        if stage.config.clip:
            self.fabric.clip_gradients(
                stage.module, stage.optimiser, max_norm=stage.config.clip, error_if_nonfinite=False
            )
        stage.optimiser.step()
        return total

    def _end_epoch(self, stage: StageRun, begun: float | None) -> None:
        """Validate, record, write the checkpoints, and move on to the next epoch.

        Args:
            begun: when the epoch began, if all of it was in this run.
        """
        progress, config = self.progress, stage.config
        loss = self._mean(progress.loss) / progress.step
        found = validate(self.fabric, stage.local, stage.validation, self._unreadable_val.add)
        for videos in (self._unreadable, self._unreadable_val):
            videos.report(lambda problem: report(PROGRAM, problem) if self.folder.writes else None)
        self._check_loss(config, found.loss)
        score = STAGES[config.stage].score(found)
        better = progress.best is None or (score, -found.loss) > (progress.best, -progress.best_loss)
        position = {"stage": config.stage, "epoch": progress.epoch + 1}
        values = {"loss": loss, "val_loss": found.loss, "val_accuracy": found.accuracy.tolist(), "score": score}
        self.folder.record(progress, "epoch", {**position, **values, "seconds": round(progress.seconds, 3)})
        frames = "one frame" if len(found.accuracy) == 1 else f"{len(found.accuracy)} frames"
        exits = ", ".join(f"{value:.1%}" for value in found.accuracy[-1])
        line = f"{config.stage} {progress.epoch + 1}/{config.epochs}: loss {loss:.4f}, validation {found.loss:.4f}"
        line = f"{line}; accuracy after {frames}, by exit: {exits}{' (best so far)' if better else ''}"
        self._print(line + self._to_go(begun))
        if self.folder.writes:
            stages = [stage.model_dump() for stage in self.config.stages]
            training = {"seed": self.config.seed, "stages": stages, **position, "score": score}
            for name in (LAST, BEST) if better else (LAST,):
                save_checkpoint(self.folder.path / name, self.model, training)
        if better:
            progress.best, progress.best_loss, progress.waited = score, found.loss, 0
        else:
            progress.waited += 1
        progress.epoch, progress.epochs = progress.epoch + 1, progress.epochs + 1
        progress.step, progress.loss, progress.seconds = 0, 0.0, 0.0

    def _to_go(self, begun: float | None) -> str:
        """How long the run will still take, for the end of a line; empty where that is not known."""
        if begun is not None:
            self._forecast.add(self.progress.stage, time.monotonic() - begun)
        seconds = self._forecast.left(self.progress.stage, self.progress.epoch + 1)
        return f"; {about(seconds)} to go" if seconds else ""

    def _save_state(self, stage: StageRun) -> None:
        states = {name: stage.optimiser.state[parameter] for name, parameter in stage.learning.items()}
        momentum = {name: state[MOMENTUM] for name, state in states.items() if state.get(MOMENTUM) is not None}
        self.progress.loss = self._mean(self.progress.loss)
        self.folder.save_state(self.progress, self.model.state_dict(), momentum)

    def _check_loss(self, config: StageConfig, loss: float) -> None:
        if not math.isfinite(loss):
            problem = f"the loss is no longer a number in step {self.progress.steps}"
            raise UsageError(f"stage {config.stage}", problem, "lower its learning_rate, or set clip")

    def _mean(self, value: float) -> float:
        """Over all processes."""
        return float(across(self.fabric, torch.tensor(value, dtype=torch.float64), "mean"))

    def _print(self, line: str) -> None:
        if self.folder.writes:
            say(line)


def plot_run(folder: RunFolder) -> None:
    """Write loss.png and accuracy.png into a run's folder. Raises UsageError where what it recorded is damaged."""
    epochs = [epoch.model_dump() for epoch in folder.epochs()]
    for name, draw in ((LOSS_PLOT, loss_plot), (ACCURACY_PLOT, accuracy_plot)) if epochs else ():
        with atomic_write(str(folder.path / name), "wb") as stream:
            stream.write(draw(epochs))
