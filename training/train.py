"""One training run: the configured stages in order, in a run folder that it can go on from after any step.

Distribution and mixed precision are Lightning Fabric's: it leaves the loop to us, starts or finds its processes (alone,
under torchrun, under SLURM), and adds nothing to the models.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from tlee.cli import report
from tlee.data.labelled.listing import Listing, read_listing, split_listing
from tlee.data.labelled.loader import READABLE, Clips, Shuffled, evaluation_batches, mixed, training_batches
from tlee.errors import UsageError, printable
from tlee.models.checkpoint import check_entries, load_checkpoint, save_checkpoint, shapes
from tlee.models.model import Tlee
from tlee.models.published import published_entries
from tlee.training.batchnorm import synchronise
from tlee.training.config import StageConfig, TrainingConfig
from tlee.training.curves import plot_run
from tlee.training.run_folder import BEST, LAST, START_AGAIN, STATE, Progress, RunFolder
from tlee.training.stages import STAGES, StageModule, Validation
from tlee.training.validate import across, validate

PROGRAM = "tlee-train"
LOG_STEPS = 10  # the loss is looked at and recorded after so many
VALIDATION_BATCH = 16
PUBLISHED_ENDING = ".pth.tar"
MOMENTUM = "momentum_buffer"  # torch's name


class Data(NamedTuple):
    """What a run learns from and what it is validated on."""

    train: Listing
    val: Listing


class Work(NamedTuple):
    """A stage, set up."""

    config: StageConfig
    stage: StageModule
    module: _FabricModule  # the same, distributed
    optimiser: torch.optim.Optimizer
    learning: dict[str, nn.Parameter]
    order: Shuffled
    batches: DataLoader


def read_data(config: TrainingConfig) -> Data:
    """The configured videos. Raises UsageError where lists cannot be read or do not fit the model or each other."""
    data = config.data
    train = read_listing(data.format, data.train, data.root, data.labels, "train")
    if isinstance(data.val, str):
        val = read_listing(data.format, data.val, data.val_root or data.root, data.labels, "val")
    else:
        train, val = split_listing(train, data.val, config.seed)
    for source, listing in ((data.train, train), (data.val, val)):
        if len(listing.classes) != config.model.classes or listing.classes != train.classes:
            problem = f"{len(listing.classes)} classes, the model has {config.model.classes}"
            if listing.classes != train.classes:
                problem = f"its classes are not those of {data.train}"
            raise UsageError(source, problem, "give train and val the same classes, as many as model.classes")
        if not listing.entries:
            raise UsageError(data.train, "no video is left to validate with", "add clips, or give data.val")
    shared = sorted({entry.path for entry in train.entries} & {entry.path for entry in val.entries})
    if shared:
        problem = f"{len(shared)} of its videos are also trained on (first: {shared[0]})"
        raise UsageError(str(data.val), problem, "validate on others")
    return Data(train, val)


class Trainer:
    """A run in the making.

    Args:
        config: what to do.
        data: the videos.
        folder: where to write.
        fabric: launched; says which process this is and what it computes on.
    """

    def __init__(self, config: TrainingConfig, data: Data, folder: RunFolder, fabric: Fabric) -> None:
        self.config, self.folder, self.fabric = config, folder, fabric
        spec, kept = config.frame_spec(), config.data.cache
        self._clips = {
            "train": Clips(data.train, spec, config.data.augment, config.seed, kept),
            "val": Clips(data.val, spec, cache=kept),
        }
        self._unreadable = {name: torch.zeros(len(clips), dtype=torch.bool) for name, clips in self._clips.items()}
        self._reported = {name: mask.clone() for name, mask in self._unreadable.items()}
        self._workers = _workers(config, fabric)
        self._validation = evaluation_batches(
            self._clips["val"], VALIDATION_BATCH, self._workers, fabric.global_rank, fabric.world_size
        )
        torch.manual_seed(config.seed)
        self.model = Tlee(config.for_model(data.train.classes))
        self.progress = Progress()

    def run(self) -> Tlee:
        """Train to the end, from the start or from where the folder's state says. Returns the best model, in eval mode.

        Raises:
            UsageError: starting weights cannot be had, the batch does not fit the processes, the loss is no longer a
                number, or the folder cannot be written.
            InputError: a video cannot be read, where the configuration says that this ends the run.
        """
        saved = self.folder.load_state()
        momentum: dict[str, Tensor] = {}
        if saved:
            self.progress, entries, momentum = saved
            check_state(self.folder.path / STATE, self.model, entries, momentum)
            self.model.load_state_dict(entries)
        else:
            self._say(initialise(self.model, self.config.init))
        if self.fabric.world_size > 1:
            synchronise(self.model, self.fabric.device.type)
        self.fabric.to_device(self.model)
        self.folder.open_metrics(self.progress)
        for number in range(self.progress.stage, len(self.config.stages)):
            self._stage(self.config.stages[number], momentum)
            momentum = {}
        self._finish()
        return self.model.eval()

    def _stage(self, config: StageConfig, momentum: dict[str, Tensor]) -> None:
        progress, patience = self.progress, config.patience or math.inf
        work = self._set_up(config, momentum)
        while progress.epoch < config.epochs and progress.waited < patience:
            self._epoch(work)
            self._end_epoch(work)
            self._save(work)
        if progress.epoch < config.epochs:
            self._say(f"{config.stage}: no better for {progress.waited} epochs, ended after {progress.epoch}")
        self.fabric.barrier()  # until the best is written
        self.model.load_state_dict(load_checkpoint(self.folder.path / BEST).state_dict())
        self.folder.record(progress, "stage", {"stage": config.stage, "epochs": progress.epoch, "score": progress.best})
        planned = sum(stage.epochs for stage in self.config.stages[: progress.stage + 1])
        self.progress = Progress(
            stage=progress.stage + 1, epochs=planned, steps=progress.steps, metrics=progress.metrics
        )
        self.folder.save_state(self.progress, self.model.state_dict(), {})

    def _set_up(self, config: StageConfig, momentum: dict[str, Tensor]) -> Work:
        stage, fabric = STAGES[config.stage], self.fabric
        clips = self._clips["train"].single() if stage.single else self._clips["train"]
        batch = fitting_batch(config, len(clips), fabric.world_size)
        order = Shuffled(len(clips), batch, config.accumulate, self.config.seed, fabric.global_rank, fabric.world_size)
        self.model.requires_grad_(False).eval()
        for part in self._learning(config):
            part.requires_grad_(True)
        learning = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        optimiser = torch.optim.SGD(
            learning.values(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
        )
        for name, value in momentum.items():
            if name in learning:
                optimiser.state[learning[name]][MOMENTUM] = value.to(fabric.device)
        stage_module = StageModule(self.model, config)
        module, wrapped = fabric.setup(stage_module, optimiser)
        return Work(
            config, stage_module, module, wrapped, learning, order, training_batches(clips, order, self._workers)
        )

    def _learning(self, config: StageConfig) -> list[nn.Module]:
        """The parts that learn."""
        parts = STAGES[config.stage].parts(self.model)
        return [part for part in parts if not (config.freeze_backbone and part is self.model.backbone)]

    def _epoch(self, work: Work) -> None:
        """The rest of the epoch's steps."""
        progress, config, steps = self.progress, work.config, work.order.steps
        for part in self._learning(config):
            part.train()
        work.order.begin(progress.epochs, progress.step)
        parts, begun = iter(work.batches), time.perf_counter() - progress.seconds
        pending: list[Tensor] = []  # losses that nobody has waited for yet
        name = f"{config.stage} {progress.epoch + 1}/{config.epochs}"
        with tqdm(total=steps, initial=progress.step, desc=name, leave=False, disable=self._no_bar()) as bar:
            for step in range(progress.step, steps):
                rate = learning_rate(config, progress.epoch, step, steps)
                pending.append(self._step(work, rate, parts))
                progress.step, progress.steps = step + 1, progress.steps + 1
                saves = progress.steps % self.config.save_steps == 0
                if saves or progress.step % LOG_STEPS == 0 or progress.step == steps:
                    progress.loss += sum(float(loss) for loss in pending)
                    progress.seconds = time.perf_counter() - begun
                    pending = []
                    bar.set_postfix(loss=f"{self._log(config, rate):.4f}")
                if saves and progress.step < steps:
                    self._save(work)
                bar.update()

    def _step(self, work: Work, rate: float, parts) -> Tensor:
        """One step of the optimiser. Returns this process's loss."""
        # Each step has a seed of its own, so that a run can go on from any.
        torch.manual_seed(mixed(self.config.seed, self.progress.steps, self.fabric.global_rank))
        for group in work.optimiser.param_groups:
            group["lr"] = rate
        work.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.fabric.device)
        for part in range(work.config.accumulate):
            batch = next(parts)
            self._note(batch.unreadable)
            if not batch.targets.any(1).all():  # not even one that could stand in
                raise _nothing("train", self._clips["train"])
            frames, targets = self.fabric.to_device((batch.frames, batch.targets))
            with self.fabric.no_backward_sync(work.module, enabled=part < work.config.accumulate - 1):
                loss = work.module(frames, targets) / work.config.accumulate
                self.fabric.backward(loss)
            total += loss.detach()
        if work.config.clip:
            self.fabric.clip_gradients(work.module, work.optimiser, max_norm=work.config.clip, error_if_nonfinite=False)
        work.optimiser.step()
        return total

    def _log(self, config: StageConfig, rate: float) -> float:
        """Record and return the epoch's mean loss so far."""
        progress = self.progress
        mean = self._mean(progress.loss) / progress.step
        self._check_loss(config, mean)
        place = {"stage": config.stage, "epoch": progress.epoch + 1}
        self.folder.record(progress, "step", {**place, "loss": mean, "learning_rate": rate})
        return mean

    def _check_loss(self, config: StageConfig, loss: float) -> None:
        if not math.isfinite(loss):
            problem = f"the loss is no longer a number in step {self.progress.steps}"
            raise UsageError(f"stage {config.stage}", problem, "lower its learning_rate, or set clip")

    def _end_epoch(self, work: Work) -> None:
        """Validate, record, write the checkpoints, and point at the next epoch."""
        progress, config = self.progress, work.config
        loss = self._mean(progress.loss) / progress.step
        found = validate(self.fabric, work.stage, self._validation, self._unreadable["val"])
        self._report_unreadable()
        self._check_loss(config, found.loss)
        score = STAGES[config.stage].score(found)
        better = progress.best is None or score > progress.best
        values = {"loss": loss, "val_loss": found.loss, "val_accuracy": found.accuracy.tolist(), "score": score}
        place = {"stage": config.stage, "epoch": progress.epoch + 1}
        self.folder.record(progress, "epoch", {**place, **values, "seconds": round(progress.seconds, 3)})
        self._say(_epoch_line(config, progress, loss, found, better))
        for name in (LAST, BEST) if better else (LAST,):
            self._write(name, {**place, "score": score})
        progress.best, progress.waited = (score, 0) if better else (progress.best, progress.waited + 1)
        progress.epoch, progress.epochs = progress.epoch + 1, progress.epochs + 1
        progress.step, progress.loss, progress.seconds = 0, 0.0, 0.0

    def _finish(self) -> None:
        for name, mask in self._reported.items():
            if mask.any():
                self._say(f"{int(mask.sum())} of {len(mask)} {name} videos could not be read")
        if self.folder.writes:
            plot_run(self.folder)
        self.folder.close()

    def _save(self, work: Work) -> None:
        states = {name: work.optimiser.state[parameter] for name, parameter in work.learning.items()}
        momentum = {name: state[MOMENTUM] for name, state in states.items() if state.get(MOMENTUM) is not None}
        self.progress.loss = self._mean(self.progress.loss)
        self.folder.save_state(self.progress, self.model.state_dict(), momentum)

    def _write(self, name: str, done: dict[str, object]) -> None:
        if self.folder.writes:
            stages = [stage.model_dump() for stage in self.config.stages]
            save_checkpoint(self.folder.path / name, self.model, {"seed": self.config.seed, "stages": stages, **done})

    def _note(self, unreadable: Tensor) -> None:
        """Mark training videos that could not be read; end the run where that is wanted, in all processes at once."""
        self._unreadable["train"][unreadable[unreadable != READABLE]] = True
        if self.config.data.unreadable == "fail":
            worst = int(across(self.fabric, unreadable.max(), "max"))
            if worst != READABLE:
                raise self._clips["train"].problem(worst)

    def _report_unreadable(self) -> None:
        """Every video that could not be read in any process, once, with the reason."""
        for name, clips in self._clips.items():
            found = across(self.fabric, self._unreadable[name].int(), "max").bool()
            for index in torch.nonzero(found & ~self._reported[name]).flatten().tolist():
                problem = clips.problem(index)
                if self.config.data.unreadable == "fail":
                    raise problem
                if self.folder.writes:
                    report(PROGRAM, problem)
            if found.all():
                raise _nothing(name, clips)
            self._unreadable[name], self._reported[name] = found.clone(), found

    def _mean(self, value: float) -> float:
        """Over all processes."""
        return float(across(self.fabric, torch.tensor(value, dtype=torch.float64), "mean"))

    def _no_bar(self) -> bool | None:
        return None if self.folder.writes else True  # None: only on a terminal

    def _say(self, line: str) -> None:
        if self.folder.writes:
            tqdm.write(printable(line))


def learning_rate(config: StageConfig, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step of an epoch of `steps` steps; epochs and steps count from 0.

    Example:
        >>> stage = StageConfig(stage="backbone", epochs=4, learning_rate=0.1, schedule="cosine", warmup=1)
        >>> [round(learning_rate(stage, epoch, 0, 10), 3) for epoch in range(4)]
        [0.01, 0.1, 0.075, 0.025]
    """
    done = epoch + step / steps
    rate = config.learning_rate * min(1.0, (done + 1 / steps) / config.warmup if config.warmup else 1.0)
    if config.schedule == "cosine":
        share = max(0.0, done - config.warmup) / max(1e-9, config.epochs - config.warmup)
        return rate * (1 + math.cos(math.pi * share)) / 2
    return rate * 0.1 ** sum(epoch >= drop for drop in config.schedule)


def initialise(model: Tlee, init: str) -> str:
    """Give a model its starting weights, as `TrainingConfig.init` says; returns what was done.

    Raises:
        UsageError: ImageNet weights cannot be had, or nothing of the checkpoint fits.
        CheckpointError: the checkpoint cannot be read.
    """
    if init == "random":
        return "starting from random weights"
    if init == "imagenet":
        model.backbone.load_imagenet()
        return "starting from ImageNet weights"
    file = best_checkpoint(init)
    own, ours = model.state_dict(), file.suffix == ".safetensors"
    given = load_checkpoint(file).state_dict() if ours else published_entries(file, model)
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise UsageError(init, "nothing of this checkpoint fits the model", "give one of the same backbone")
    model.load_state_dict(fitting, strict=False)
    return f"starting from {file}: {len(fitting)} of the model's {len(own)} entries"


def check_state(path: Path, model: Tlee, entries: dict[str, Tensor], momentum: dict[str, Tensor]) -> None:
    """Refuse a saved state that is not this model's. Raises CheckpointError."""
    own = shapes(model.state_dict())
    check_entries(path, own, shapes(entries), START_AGAIN)
    check_entries(path, {name: own[name] for name in momentum if name in own}, shapes(momentum), START_AGAIN)


def best_checkpoint(init: str | Path) -> Path:
    """A checkpoint file, or in a folder the best one: of our runs, or of the published code.

    Raises:
        UsageError: the folder has none, or several of the published code that are not called the best.
    """
    path = Path(init)
    if not path.is_dir():
        return path
    if (path / BEST).exists():
        return path / BEST
    published = sorted(path.glob(f"*{PUBLISHED_ENDING}"))
    best = [file for file in published if "best" in file.name] or published
    if len(best) != 1:
        problem = f"{len(best)} checkpoints to start from" if best else "no checkpoint to start from"
        raise UsageError(path, problem, f"put {BEST} or a *{PUBLISHED_ENDING} there, or give a file (--set init=FILE)")
    return best[0]


def fitting_batch(config: StageConfig, videos: int, world: int) -> int:
    """Videos per step: the configured number, or less where there are fewer.

    Raises:
        UsageError: they cannot be shared among the processes.
    """
    parts = world * config.accumulate
    if config.batch % parts or config.batch < 2 * parts:
        problem = f"a batch of {config.batch} cannot be shared by {world} processes in {config.accumulate} parts"
        raise UsageError(f"stage {config.stage}", problem, f"choose a multiple of {parts}, at least {2 * parts}")
    batch = min(config.batch, videos // parts * parts)
    if batch < 2 * parts:
        problem = f"{videos} training videos are too few for {parts} parts of 2 or more"
        raise UsageError(f"stage {config.stage}", problem, "add clips, or use fewer processes")
    return batch


def _nothing(name: str, clips: Clips) -> UsageError:
    return UsageError(f"{name} videos", f"none of {len(clips)} can be read", f"the first: {clips.problem(0)}")


def _workers(config: TrainingConfig, fabric: Fabric) -> int:
    if config.data.workers is not None:
        return config.data.workers
    here = getattr(fabric.strategy, "num_processes", 1)  # on this machine
    return 0 if config.data.cache else max(1, len(os.sched_getaffinity(0)) // here)


def _epoch_line(config: StageConfig, progress: Progress, loss: float, found: Validation, better: bool) -> str:
    last = ", ".join(f"{value:.1%}" for value in found.accuracy[-1])
    line = f"{config.stage} {progress.epoch + 1}/{config.epochs}: loss {loss:.4f}, validation {found.loss:.4f}"
    count = len(found.accuracy)
    frames = "one frame" if count == 1 else f"{count} frames"
    return f"{line}; accuracy after {frames}, by exit: {last}{' (best so far)' if better else ''}"
