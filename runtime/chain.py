"""The chain: a bundle's graphs as the exit rule's stages."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tlee.bundle import FUSED, Bundle
from tlee.inference import ExitValues, Stages
from tlee.runtime.backend import Backend

WEIGHT = 1 / 16.0  # of a new observation: a new scene is learnt within some tens of videos


class RunningRate:
    """How likely things are, by any key: the exponentially weighted share of times that they happened.

    Examples:
        >>> rate = RunningRate()
        >>> for _ in range(50):
        ...     rate.count("frame 1", True)
        >>> rate.of("frame 1") > 0.95, rate.of("frame 2")
        (True, 0.5)
    """

    def __init__(self) -> None:
        self._rates: Dict[Any, float] = {}

    def of(self, key: Any) -> float:
        return self._rates.get(key, 0.5)

    def count(self, key: Any, happened: bool) -> None:
        self._rates[key] = self.of(key) + WEIGHT * (happened - self.of(key))


class Loaded(NamedTuple):
    """A frame that was made the first split's input ahead of time."""

    value: Any


class Chain(Stages):
    """Runs a bundle's segments on a backend. Only confidences and gate scores come back to the host.

    While the host waits for these, the next split may already be queued (`speculate`), where that pays: how often a
    frame goes on from there is learnt. The outputs of a split that turns out not to be needed are never read.
    """

    def __init__(self, bundle: Bundle, backend: Backend, speculate: bool = True) -> None:
        self.backend = backend
        self._speculate = speculate and backend.is_async
        self._goes_on = RunningRate()  # by frame and exit
        self._exits = bundle.exits
        self._splits = [f"split{b}" for b in range(self._exits)]
        with backend:  # by split, its inputs after x in a video's first frame
            states = [bundle.manifest["segments"][name]["inputs"][1:] for name in self._splits]
            self._zeros = [[self._filled(value["shape"], 0.0) for value in state] for state in states]
        self._features = [f"branch{b}" for b in range(self._exits - 1)] + ["tail"]
        self._has_neck, self._has_frm, self._has_gate = (name in bundle.segments for name in ("neck", "frm", "gate"))
        self._per_frame = "position" in bundle.segments["head"].inputs
        self._constants: Dict[float, Any] = {}
        self._last_exit: Optional[Tuple[int, int]] = None  # (frame, exit), until it is known whether the frame goes on
        self.begin()

    def begin(self) -> None:
        self._learn(False)
        self._state = list(self._zeros)  # by split, its inputs after x
        self._queued: Optional[Tuple[int, List[Any]]] = None  # a split that was queued ahead, and its outputs
        self._frame = -1

    def load(self, frame: Any) -> Any:
        return frame.value if isinstance(frame, Loaded) else self.backend.frame(frame)

    def split(self, index: int, x: Any) -> Any:
        if index == 0:
            self._frame += 1
            self.backend.mark()
        outputs = None
        if self._speculate:
            self._learn(index > 0)
            queued, self._queued = self._queued, None
            outputs = queued[1] if queued and queued[0] == index else None
        if outputs is None:
            outputs = self.backend.run(self._splits[index], x, *self._state[index])
        self._state[index] = outputs[1:]
        return outputs[0]

    def exit(
        self, index: int, x: Any, previous: Optional[Any], frame: int, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        z, logits, numbers = self._run_exit(index, x, previous, frame, gated and self._has_gate, temperature)
        self.backend.fetch(numbers)
        if self._speculate:
            self._last_exit = (self._frame, index)
            following, chance = index + 1, self._goes_on.of(self._last_exit)
            if following < self._exits and self.backend.should_speculate(self._splits[following], chance):
                self._queued = following, self.backend.run(self._splits[following], x, *self._state[following])
        confidence, *score = self.backend.wait()
        return ExitValues(z, logits, confidence[0], score[0][0] if score else None)

    def feature(self, index: int, x: Any) -> Any:
        """An exit's feature, (1, D), before any feature reuse; valid until the next exit has answered."""
        feature = self.backend.run(self._features[index], x)[0]
        return self.backend.run("neck", feature)[0] if self._has_neck else feature

    def kept(self, value: Any) -> Any:
        """A copy of a value that later runs do not overwrite."""
        return self.backend.value(self.backend.array(value))

    def array(self, value: Any) -> np.ndarray:
        """A step's z or logits as an array, (1, n) float32."""
        return self.backend.array(value)

    def _run_exit(
        self, index: int, x: Any, previous: Optional[Any], frame: int, gated: bool, temperature: float
    ) -> Tuple[Any, Any, List[Any]]:
        """z, logits, and a list of confidence and, if gated, score."""
        run, z = self.backend.run, self.feature(index, x)
        if frame > 0 and self._has_frm:
            z = run("frm", z, previous)[0]
        position = [self._constant(float(frame))] if self._per_frame else []
        logits, confidence = run("head", z, self._constant(temperature), *position)
        return z, logits, [confidence] + (run("gate", z, previous, *position) if gated else [])

    def _learn(self, went_on: bool) -> None:
        if self._last_exit is not None:
            self._goes_on.count(self._last_exit, went_on)
            self._last_exit = None

    def _constant(self, number: float) -> Any:
        if number not in self._constants:
            self._constants[number] = self._filled((1, 1), number)
        return self._constants[number]

    def _filled(self, shape: Sequence[int], number: float) -> Any:
        return self.backend.value(np.full(shape, number, np.float32))


class FusedChain(Chain):
    """Runs each exit as one graph, which always computes the gate's score; it is read where the rule needs it."""

    def __init__(self, bundle: Bundle, backend: Backend, speculate: bool = True) -> None:
        super().__init__(bundle, backend, speculate)
        graphs = [bundle.fused_exits[f"exit{b}"] for b in range(self._exits)]
        values = ["previous", "position", "temperature"]
        self._fused_exits = [(graph.name, [values.index(name) for name in graph.inputs[1:]]) for graph in graphs]
        names = ("z", "logits", "confidence") + (("score",) if self._has_gate else ())
        self._outputs = [[graph.outputs.index(name) for name in names] for graph in graphs]
        with backend:  # before the first z
            self._no_previous = self._filled((1, bundle.manifest["model"]["feature_size"]), 0.0)

    def _run_exit(
        self, index: int, x: Any, previous: Optional[Any], frame: int, gated: bool, temperature: float
    ) -> Tuple[Any, Any, List[Any]]:
        name, needed = self._fused_exits[index]
        before = self._no_previous if previous is None else previous
        values = (before, self._constant(float(frame)), self._constant(temperature))
        outputs = self.backend.run(name, x, *[values[i] for i in needed])
        z, logits, *numbers = (outputs[i] for i in self._outputs[index])
        return z, logits, numbers if gated else numbers[:1]


def chain_of(bundle: Bundle, backend: Backend, exit_graphs: str, speculate: bool = True) -> Chain:
    """The chain for the graphs that `Bundle.chain(exit_graphs)` names, which the backend must have."""
    return (FusedChain if exit_graphs == FUSED else Chain)(bundle, backend, speculate)
