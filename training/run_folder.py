"""The folder of one training run: configuration, measurements, models, and the state to resume from.

It contains:

    config.yml           the configuration with all defaults
    metrics.jsonl        a line per logged step, epoch and stage
    tensorboard/         the same for TensorBoard
    best.safetensors     the best epoch of the latest stage; each stage starts from the best of the one before
    last.safetensors     the latest epoch
    state.safetensors    what `--resume` reads
    loss.png, accuracy.png   at the end
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, FiniteFloat, ValidationError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor

from tlee.errors import CANNOT_WRITE, CheckpointError, UsageError, writing
from tlee.files import atomic_write
from tlee.locks import is_temporary, write_lock
from tlee.models.checkpoint import check_entries, shapes
from tlee.models.config import explain
from tlee.models.model import Tlee
from tlee.models.tensors import open_tensors, write_tensors
from tlee.reading import MB, parse_json, read_bytes, read_text
from tlee.training.config import TrainingConfig

CONFIG, METRICS, STATE = "config.yml", "metrics.jsonl", "state.safetensors"
BEST, LAST, TENSORBOARD = "best.safetensors", "last.safetensors", "tensorboard"
LOSS_PLOT, ACCURACY_PLOT = "loss.png", "accuracy.png"
OWN = (CONFIG, METRICS, STATE, BEST, LAST, TENSORBOARD, LOSS_PLOT, ACCURACY_PLOT)
HEADER = "tlee-state"
MODEL, MOMENTUM = "model.", "momentum."
METRICS_LIMIT = 1024 * MB  # a step has some 150 bytes
START_AGAIN = "remove the folder and start again"
Count = Annotated[int, Field(ge=0, lt=2**53)]
Accuracies = Annotated[list[FiniteFloat], Field(min_length=1)]


class Progress(BaseModel):
    """The position of a run. The next step is `step` of `epoch` of stage number `stage`; steps are the optimiser's."""

    stage: Count = 0
    epoch: Count = 0
    step: Count = 0
    epochs: Count = 0  # completed, over all stages
    steps: Count = 0  # likewise
    loss: FiniteFloat = 0.0  # sum over this epoch's steps so far
    best: FiniteFloat | None = None  # score of the stage's best epoch so far
    best_loss: FiniteFloat = 0.0  # its validation loss, which counts where scores are equal
    waited: Count = 0  # epochs since then
    seconds: FiniteFloat = 0.0  # spent on this epoch so far
    metrics: Count = 0  # length of metrics.jsonl, bytes


class Epoch(BaseModel):
    """An epoch in metrics.jsonl."""

    stage: str
    loss: FiniteFloat
    val_loss: FiniteFloat
    val_accuracy: Annotated[list[Accuracies], Field(min_length=1)]  # by frames seen and exit


class Board:
    """A file of TensorBoard events in a folder; TensorBoard drops what earlier files have from `step` on.

    PyTorch's writer is not used: its thread prints a traceback of its own when the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(exist_ok=True)
        # Unbuffered, so that closing has nothing to write.
        self.file = open(folder / f"events.out.tfevents.{time.time_ns()}.tlee", "xb", buffering=0)  # noqa: SIM115
        self._writer = RecordWriter(self.file)
        self.add(Event(file_version="brain.Event:2"))
        if step:
            self.add(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())


class RunFolder:
    """Reads and writes a run's folder. Of several processes only the first `writes`."""

    def __init__(self, path: str | Path, writes: bool = True) -> None:
        self.path = Path(path)
        self.writes = writes
        self._board: Board | None = None

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Lock the folder against other trainings while the block runs; only the process that writes takes the lock.

        Raises:
            UsageError: another training has it, or the folder cannot be written.
        """
        if not self.writes:
            yield
            return
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with write_lock(str(self.path), folder=True):
            yield

    def create(self, config: TrainingConfig, resume: bool) -> None:
        """Make the folder, or check that it contains this run. Needs the lock of `claimed`.

        Raises:
            UsageError: it cannot be written, contains a run and `resume` is false, or a run of another configuration.
        """
        file = self.path / CONFIG
        if (self.path / STATE).exists():
            if not resume:
                raise UsageError(self.path, "holds a run already", "go on with --resume, or choose another folder")
            if not file.exists() or _as_yaml(config) != read_text(str(file), METRICS_LIMIT):
                raise UsageError(file, "the run has another configuration", "give this one, or choose another folder")
        with writing(self.path):
            self.path.mkdir(exist_ok=True)
            for left in (p for name in OWN for p in self.path.glob(f".{name}.*")):  # a killed run's unfinished files
                left.unlink()
            foreign = sorted(p.name for p in self.path.iterdir() if p.name not in OWN and not is_temporary(p.name))
        if foreign:
            raise UsageError(self.path, f"holds other files ({foreign[0]})", "choose an empty or new folder")
        with atomic_write(str(file)) as stream:
            stream.write(_as_yaml(config))

    def load_state(self) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]] | None:
        """Progress, the model's state dictionary and the optimiser's momentum by parameter; None before the first save.

        Raises:
            CheckpointError: the file is damaged.
        """
        file = self.path / STATE
        if not file.exists():
            return None
        try:
            with open_tensors(file) as stream:
                progress = Progress(**parse_json((stream.metadata() or {})[HEADER].encode()))
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118, no dictionary
        except CheckpointError as error:
            raise CheckpointError(file, f"not the state of a run ({error.problem})", START_AGAIN) from None
        except (KeyError, TypeError, ValueError):  # another file's header
            raise CheckpointError(file, "not the state of a run (its progress is not there)", START_AGAIN) from None
        return progress, _below(MODEL, tensors), _below(MOMENTUM, tensors)

    def save_state(self, progress: Progress, model: Mapping[str, Tensor], momentum: Mapping[str, Tensor]) -> None:
        """Write the state to resume from, whole or not at all."""
        if not self.writes:
            return
        entries = {MODEL + name: tensor for name, tensor in model.items()}
        entries.update({MOMENTUM + name: tensor for name, tensor in momentum.items()})
        write_tensors(self.path / STATE, entries, {HEADER: progress.model_dump_json()})

    def open_metrics(self, progress: Progress) -> None:
        """Start or continue metrics.jsonl; what a killed run wrote after its last state is cut off."""
        if not self.writes:
            return
        file = self.path / METRICS
        with writing(self.path):
            file.touch()
            if file.stat().st_size < progress.metrics:
                raise UsageError(file, "shorter than it was when the run's state was saved", START_AGAIN)
            os.truncate(file, progress.metrics)
            self.epochs()  # damage is reported now rather than after the training
            self._board = Board(self.path / TENSORBOARD, progress.steps)

    def record(self, progress: Progress, event: str, values: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl, and its numbers to TensorBoard."""
        if self._board is None:
            return
        line = json.dumps({"event": event, "step": progress.steps, **values}, allow_nan=False) + "\n"
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        for name, table in ((name, value) for name, value in values.items() if isinstance(value, list)):
            numbers.update({f"{name}_exit{b}": number for b, number in enumerate(table[-1])})  # of the last frame
        shown = [Summary.Value(tag=f"{event}/{name}", simple_value=number) for name, number in numbers.items()]
        try:
            with open(self.path / METRICS, "ab") as stream:
                stream.write(line.encode())
                stream.flush()
                progress.metrics = stream.tell()
            self._board.add(Event(step=progress.steps, summary=Summary(value=shown)))
        except OSError as error:
            remedy = "make room, and go on with --resume"
            raise UsageError(self.path / METRICS, CANNOT_WRITE.format(error.strerror), remedy) from None

    def metrics(self) -> list[dict[str, Any]]:
        """All recorded lines. Raises UsageError where they are damaged."""
        file = self.path / METRICS
        events: list[dict[str, Any]] = []
        for number, line in enumerate(read_bytes(str(file), METRICS_LIMIT).splitlines(), 1):
            try:
                events.append(parse_json(line))
                if not isinstance(events[-1]["event"], str):
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                raise UsageError(file, f"damaged in line {number}", START_AGAIN) from None
        return events

    def epochs(self) -> list[Epoch]:
        """All recorded epochs. Raises UsageError as `metrics`."""
        try:
            found = [Epoch(**line) for line in self.metrics() if line["event"] == "epoch"]
        except ValidationError as error:
            raise UsageError(self.path / METRICS, f"damaged: {explain(error)}", START_AGAIN) from None
        if len({len(row) for epoch in found for row in epoch.val_accuracy}) > 1:
            raise UsageError(self.path / METRICS, "damaged: epochs with other numbers of exits", START_AGAIN)
        return found

    def close(self) -> None:
        if self._board:
            self._board.file.close()


def check_state(path: Path, model: Tlee, entries: dict[str, Tensor], momentum: dict[str, Tensor]) -> None:
    """Refuse a saved state of another model. Raises CheckpointError."""
    own = shapes(model.state_dict())
    check_entries(path, own, shapes(entries), START_AGAIN)
    check_entries(path, {name: own[name] for name in momentum if name in own}, shapes(momentum), START_AGAIN)


def _as_yaml(config: TrainingConfig) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
