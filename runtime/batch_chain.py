"""The chain for several videos at once: at every split, the videos that wait there are computed as one batch."""

from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np

from tlee.bundle import Bundle
from tlee.errors import SegmentError
from tlee.inference import ExitState, ExitValues, Step
from tlee.policy import Action, ExitPolicy
from tlee.runtime.backend import ANSWERS, Backend

# A slot, an exit's step or the error where that is not a number, and where the video ends its logits, (K,).
Answered = Tuple[Any, Union[Step, SegmentError], Optional[np.ndarray]]


class Slot:
    """A video under way, and its row in buffers that hold something of every video."""

    def __init__(self, row: int, policy: ExitPolicy) -> None:
        self.row, self.exit_state = row, ExitState(policy)
        self.milliseconds = 0.0  # of computing, since the frame began


class _Queue:
    """Slots whose frames wait for one split, and the split's input rows: `x`, its `state`, and the `previous` z."""

    def __init__(self, x: Any, state: List[Any], previous: Any) -> None:
        self.x, self.state, self.previous = x, state, previous
        self.slots: List[Slot] = []
        self.passed_over = 0  # consecutive times that another queue was taken while something waited here


class BatchChain:
    """Runs a bundle's splits and fused exits on as many rows as there are videos.

    Args:
        backend: with the bundle's fused exits, for `rows` videos.
        policy: its temperatures are used.
    """

    def __init__(self, bundle: Bundle, backend: Backend, policy: ExitPolicy, rows: int) -> None:
        self._backend = backend
        self._fused_exits = [bundle.fused_exits[f"exit{b}"] for b in range(bundle.exits)]
        splits = [bundle.manifest["segments"][f"split{b}"] for b in range(bundle.exits)]
        model = bundle.manifest["model"]
        features = [rows, model["feature_size"]]
        with backend:
            self._queues = []
            for b, split in enumerate(splits):
                x, *state = [[rows] + value["shape"][1:] for value in split["inputs"]]
                first = backend.empty(x) if b else backend.staging_buffer(x)
                self._queues.append(_Queue(first, [backend.empty(shape) for shape in state], self._zeros(features)))
            # By split and slot, what the split hands on to the next frame.
            self._states = [[backend.empty(value.shape) for value in queue.state] for queue in self._queues]
            self._first_states = [[self._zeros(value.shape) for value in queue.state] for queue in self._queues]
            self._last_z = self._zeros(features)  # by slot, of the exit at which the last frame left
            self._last_logits = backend.empty([rows, model["classes"]])
            self._position = backend.staging_buffer([rows, 1])
            self._temperatures = [backend.value(np.full((1, 1), t, np.float32)) for t in policy.thresholds.temperature]

    def begin(self, slot: Slot) -> None:
        """Start a new video in a slot; nothing of its row's last one is used."""
        for states, first in zip(self._states, self._first_states):
            self._copy_rows(first, slot.row, states, slot.row)

    def put(self, slot: Slot, frame: np.ndarray) -> None:
        """Let a frame, (H, W, 3) RGB 0-255, wait for the first split."""
        queue = self._queues[0]
        row = len(queue.slots)
        queue.x.array[row] = frame
        self._backend.copy_row(self._last_z, slot.row, queue.previous, row)
        queue.slots.append(slot)
        slot.milliseconds = 0.0

    def last_logits(self, slot: Slot) -> np.ndarray:
        """The logits of the exit at which a video's last frame left, (K,)."""
        return self._backend.array(self._last_logits)[slot.row].copy()

    @property
    def waiting(self) -> bool:
        return any(queue.slots for queue in self._queues)

    def advance(self) -> List[Answered]:
        """Run the split at which most videos wait, and its exit. One that is passed over counts one more each time, so
        that none waits for ever."""
        queue = max(self._queues, key=lambda queue: (bool(queue.slots), len(queue.slots) + queue.passed_over))
        for other in self._queues:
            other.passed_over += 1 if other.slots else 0
        b = self._queues.index(queue)
        slots, queue.slots, queue.passed_over = queue.slots, [], 0
        self._backend.mark()
        if b == 0:
            self._backend.send(queue.x, len(slots))
        for i, slot in enumerate(slots):
            self._copy_rows(self._states[b], slot.row, queue.state, i)
        x, *states = self._backend.run(f"split{b}", queue.x, *queue.state, rows=len(slots))
        for i, slot in enumerate(slots):
            self._copy_rows(states, i, self._states[b], slot.row)
        if slots[0].exit_state.evaluated:
            return self._run_exit(b, queue, slots, x)
        self._wait_for([], slots)
        for i, slot in enumerate(slots):
            slot.exit_state.go_on()
            self._enqueue(b + 1, slot, x, queue.previous, i)
        return []

    def drop(self) -> None:
        """Forget all videos under way."""
        for queue in self._queues:
            queue.slots, queue.passed_over = [], 0

    def _run_exit(self, b: int, queue: _Queue, slots: List[Slot], x: Any) -> List[Answered]:
        fused = self._fused_exits[b]
        for i, slot in enumerate(slots):
            self._position.array[i] = slot.exit_state.frame
        self._backend.send(self._position, len(slots))
        values = {"previous": queue.previous, "position": self._position, "temperature": self._temperatures[b]}
        inputs = [values[name] for name in fused.inputs[1:]]
        outputs = dict(zip(fused.outputs, self._backend.run(fused.name, x, *inputs, rows=len(slots))))
        confidence, *score = self._wait_for([outputs[name] for name in ANSWERS if name in outputs], slots)
        answered: List[Answered] = []
        logits: Any = None
        for i, slot in enumerate(slots):
            gate = score[0][i] if score and slot.exit_state.gated else None
            try:
                step = slot.exit_state.answer(ExitValues(None, None, confidence[i], gate))
            except SegmentError as error:
                answered.append((slot, error, None))
                continue
            done = slot.exit_state.done
            if done and logits is None:
                logits = self._backend.array(outputs["logits"])
            answered.append((slot, step, logits[i].copy() if done else None))
            if step.decision.action is Action.CONTINUE:
                self._enqueue(b + 1, slot, x, outputs["z"], i)
            elif not done:
                last = [self._last_z, self._last_logits]
                self._copy_rows([outputs["z"], outputs["logits"]], i, last, slot.row)
        return answered

    def _enqueue(self, b: int, slot: Slot, x: Any, previous: Any, i: int) -> None:
        queue = self._queues[b]
        self._copy_rows([x, previous], i, [queue.x, queue.previous], len(queue.slots))
        queue.slots.append(slot)

    def _wait_for(self, values: List[Any], slots: List[Slot]) -> List[List[float]]:
        """The numbers of these values, if any: staging buffers may be written again once this has waited."""
        self._backend.fetch(values, len(slots))
        numbers = self._backend.wait()
        milliseconds = self._backend.milliseconds()
        for slot in slots:
            slot.milliseconds += milliseconds
        return numbers

    def _copy_rows(self, sources: Sequence[Any], i: int, targets: Sequence[Any], j: int) -> None:
        for source, target in zip(sources, targets):
            self._backend.copy_row(source, i, target, j)

    def _zeros(self, shape: Sequence[int]) -> Any:
        return self._backend.value(np.zeros(shape, np.float32))
