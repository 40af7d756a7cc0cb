"""A run's numbers in TensorBoard's event format.

PyTorch's writer is not used: its thread prints a traceback of its own when the disk is full.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

VERSION = "brain.Event:2"


class Board:
    """A file of events.

    Args:
        folder: where, made if need be.
        step: of the run; TensorBoard drops what earlier files have from there on.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(exist_ok=True)
        # Unbuffered, so that closing has nothing to write.
        self._file = open(folder / f"events.out.tfevents.{time.time_ns()}.tlee", "xb", buffering=0)  # noqa: SIM115
        self._writer = RecordWriter(self._file)
        self._write(Event(file_version=VERSION))
        if step:
            self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: Iterable[tuple[str, float]]) -> None:
        """Add a step's numbers, by name. Raises OSError."""
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values]
        self._write(Event(step=step, summary=Summary(value=shown)))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())
