"""The chain for several videos at once: at every split, those that wait there are computed as one batch."""

from typing import Any, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from tlee.bundle import Bundle
from tlee.errors import SegmentError
from tlee.inference import ExitState, ExitValues, Step
from tlee.policy import Action, ExitPolicy
from tlee.runtime.backend import Backend


class Slot:
    """Room for one video, taken by one after the other.

    Attributes:
        row: its number.
        milliseconds: computing, of the frame so far.
    """

    def __init__(self, row: int, policy: ExitPolicy) -> None:
        self.row, self._policy = row, policy
        self.milliseconds = 0.0

    def begin(self) -> None:
        """A new video."""
        self.exit_steps = ExitState(self._policy)


class Answered(NamedTuple):
    """What an exit answered a video: a step or, where that is not a number, an error; at a video's end its logits."""

    place: Slot
    answer: Union[Step, SegmentError]
    logits: Optional[np.ndarray]


class _Queue:
    """Places whose frames wait for one split. Their rows of what is read there: `x`, the split's `state`, and the
    `previous` exit's z."""

    def __init__(self, x: Any, state: List[Any], previous: Any) -> None:
        self.x, self.state, self.previous = x, state, previous
        self.places: List[Slot] = []
        self.passed_over = 0  # times in a row that another queue was taken while somebody waited here


class BatchChain:
    """Runs a bundle's splits and fused exits on as many rows as there are videos.

    Args:
        backend: with the bundle's exit_graphs, for `rows` videos.
        policy: whose temperatures count.
    """

    def __init__(self, bundle: Bundle, backend: Backend, policy: ExitPolicy, rows: int) -> None:
        self._backend, self._rows = backend, rows
        self._fused_exits = [bundle.fused_exits[f"exit{b}"] for b in range(bundle.exits)]
        splits = [bundle.manifest["segments"][f"split{b}"] for b in range(bundle.exits)]
        size = [bundle.manifest["model"]["feature_size"]]
        with backend:
            self._queues = []
            for b, split in enumerate(splits):
                x, *state = [[rows] + value["shape"][1:] for value in split["inputs"]]
                values = [backend.empty(shape) for shape in state]
                place = backend.empty(x) if b else backend.staging_buffer(x)
                self._queues.append(_Queue(place, values, self._zeros([rows] + size)))
            self._state = [[backend.empty(value.shape) for value in queue.state] for queue in self._queues]
            self._no_state = [[self._zeros(value.shape) for value in queue.state] for queue in self._queues]
            self._left = self._zeros([rows] + size)  # by place, the z that its last frame left with
            self._logits = backend.empty([rows, bundle.manifest["model"]["classes"]])  # and the logits
            self._position = backend.staging_buffer([rows, 1])
            numbers = [np.full((1, 1), t, np.float32) for t in policy.thresholds.temperature]
            self._temperatures = [backend.value(number) for number in numbers]

    def begin(self, place: Slot) -> None:
        """Let the next video take a place: nothing is handed on from the last one."""
        place.begin()
        for states, zeros in zip(self._state, self._no_state):
            for state, zero in zip(states, zeros):
                self._backend.copy_row(zero, place.row, state, place.row)

    def put(self, place: Slot, frame: np.ndarray) -> None:
        """Let a frame, (H, W, 3) RGB 0-255, wait for the first split."""
        queue = self._queues[0]
        row = len(queue.places)
        queue.x.array[row] = frame
        self._backend.copy_row(self._left, place.row, queue.previous, row)
        queue.places.append(place)
        place.milliseconds = 0.0

    def left_with(self, place: Slot) -> np.ndarray:
        """The logits that a video's last frame left with, (K,)."""
        return self._backend.array(self._logits)[place.row].copy()

    @property
    def waiting(self) -> bool:
        return any(queue.places for queue in self._queues)

    def advance(self) -> List[Answered]:
        """Run the split at which most wait, and the exit behind it. One that was passed over counts one more each time,
        so that nobody waits for ever."""
        b = max(range(len(self._queues)), key=self._urgency)
        for queue in self._queues:
            queue.passed_over += 1 if queue.places else 0
        queue = self._queues[b]
        places, queue.places, queue.passed_over = queue.places, [], 0
        self._backend.mark()
        x = self._split(b, queue, places)
        if not places[0].exit_steps.evaluated:
            self._numbers([], len(places))
            self._spent(places)
            for i, place in enumerate(places):
                place.exit_steps.go_on()
                self._enqueue(b + 1, place, x, queue.previous, i)
            return []
        return self._answers(b, queue, places, x)

    def drop(self) -> None:
        """Forget all videos under way."""
        for queue in self._queues:
            queue.places, queue.passed_over = [], 0

    def _urgency(self, b: int) -> Tuple[bool, int]:
        queue = self._queues[b]
        return bool(queue.places), len(queue.places) + queue.passed_over

    def _split(self, b: int, queue: _Queue, places: List[Slot]) -> Any:
        backend, rows = self._backend, len(places)
        if b == 0:
            backend.send(queue.x, rows)
        for i, place in enumerate(places):
            for kept, given in zip(self._state[b], queue.state):
                backend.copy_row(kept, place.row, given, i)
        x, *state = backend.run(f"split{b}", queue.x, *queue.state, rows=rows)
        for i, place in enumerate(places):
            for new, kept in zip(state, self._state[b]):
                backend.copy_row(new, i, kept, place.row)
        return x

    def _answers(self, b: int, queue: _Queue, places: List[Slot], x: Any) -> List[Answered]:
        fused = self._fused_exits[b]
        for i, place in enumerate(places):
            self._position.array[i] = place.exit_steps.frame
        self._backend.send(self._position, len(places))
        given = {"previous": queue.previous, "position": self._position, "temperature": self._temperatures[b]}
        inputs = [given[name] for name in fused.inputs[1:]]
        outputs = dict(zip(fused.outputs, self._backend.run(fused.name, x, *inputs, rows=len(places))))
        wanted = [outputs[name] for name in ("confidence", "score") if name in outputs]
        numbers = self._numbers(wanted, len(places))
        self._spent(places)
        answers = [self._answer(place, i, numbers) for i, place in enumerate(places)]
        logits = self._backend.array(outputs["logits"]) if any(place.exit_steps.done for place in places) else None
        result = []
        for i, (place, answer) in enumerate(zip(places, answers)):
            ended = logits[i].copy() if logits is not None and place.exit_steps.done else None
            result.append(Answered(place, answer, ended))
            if isinstance(answer, Step) and answer.decision.action is Action.CONTINUE:
                self._enqueue(b + 1, place, x, outputs["z"], i)
            elif isinstance(answer, Step) and not place.exit_steps.done:
                self._backend.copy_row(outputs["z"], i, self._left, place.row)
                self._backend.copy_row(outputs["logits"], i, self._logits, place.row)
        return result

    def _answer(self, place: Slot, i: int, numbers: List[List[float]]) -> Union[Step, SegmentError]:
        score = numbers[1][i] if place.exit_steps.gated and len(numbers) > 1 else None
        try:
            return place.exit_steps.answer(ExitValues(None, None, numbers[0][i], score))
        except SegmentError as error:
            return error

    def _enqueue(self, b: int, place: Slot, x: Any, previous: Any, i: int) -> None:
        queue = self._queues[b]
        self._backend.copy_row(x, i, queue.x, len(queue.places))
        self._backend.copy_row(previous, i, queue.previous, len(queue.places))
        queue.places.append(place)

    def _numbers(self, values: List[Any], rows: int) -> List[List[float]]:
        """Waits, also for nothing: then what was sent may be written anew."""
        self._backend.fetch(values, rows)
        return self._backend.wait()

    def _spent(self, places: List[Slot]) -> None:
        milliseconds = self._backend.milliseconds()
        for place in places:
            place.milliseconds += milliseconds

    def _zeros(self, shape: List[int]) -> Any:
        return self._backend.value(np.zeros(shape, np.float32))
