"""The chain: a bundle's segments as the exit rule's stages."""

from typing import Any, Dict, List, Optional

import numpy as np

from tlee.bundle import Bundle
from tlee.inference import ExitValues, Stages


class Chain(Stages):
    """Runs segments on a backend. Only confidences and gate scores come back to the host.

    Args:
        bundle: which segments there are.
        backend: runs them; `OnnxBackend` shows what it must offer.
    """

    def __init__(self, bundle: Bundle, backend: Any) -> None:
        self._backend = backend
        exits = bundle.exits
        self._splits = ["split{}".format(b) for b in range(exits)]
        self._zeros = [self._first_state(bundle, name) for name in self._splits]
        self._state = list(self._zeros)  # of each split, what follows x among its inputs
        self._features = ["branch{}".format(b) for b in range(exits - 1)] + ["tail"]
        self._has_neck = "neck" in bundle.segments
        self._has_frm = "frm" in bundle.segments
        self._has_gate = "gate" in bundle.segments
        self._temperatures: Dict[float, Any] = {}

    def begin(self) -> None:
        self._state = list(self._zeros)

    def load(self, frame: np.ndarray) -> Any:
        return self._backend.value(np.ascontiguousarray(frame[np.newaxis], dtype=np.float32))

    def split(self, index: int, x: Any) -> Any:
        outputs = self._backend.run(self._splits[index], x, *self._state[index])
        self._state[index] = outputs[1:]
        return outputs[0]

    def feature(self, index: int, x: Any) -> Any:
        """An exit's feature, (1, D), before any feature reuse; holds until the next exit has answered."""
        feature = self._backend.run(self._features[index], x)[0]
        return self._backend.run("neck", feature)[0] if self._has_neck else feature

    def exit(
        self, index: int, x: Any, previous: Optional[Any], fuse: bool, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        backend = self._backend
        z = self.feature(index, x)
        if fuse and self._has_frm:
            z = backend.run("frm", z, previous)[0]
        logits, confidence = backend.run("head", z, self._temperature(temperature))
        score = None
        if gated and self._has_gate:
            score = float(backend.array(backend.run("gate", z, previous)[0]).item())
        return ExitValues(z, logits, float(backend.array(confidence).item()), score)

    def kept(self, value: Any) -> Any:
        """A copy of a value that later runs do not overwrite."""
        return self._backend.value(self._backend.array(value))

    def array(self, value: Any) -> np.ndarray:
        """A z or logits of a step as an array, (1, n) float32."""
        return self._backend.array(value)

    def _temperature(self, temperature: float) -> Any:
        if temperature not in self._temperatures:
            self._temperatures[temperature] = self._backend.value(np.full((1, 1), temperature, np.float32))
        return self._temperatures[temperature]

    def _first_state(self, bundle: Bundle, name: str) -> List[Any]:
        shapes = [value["shape"] for value in bundle.manifest["segments"][name]["inputs"][1:]]
        return [self._backend.value(np.zeros(shape, np.float32)) for shape in shapes]
