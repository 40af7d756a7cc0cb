"""Recorded inputs and float32 outputs of every segment and fused exit in a few real steps.

A device has no reference model: it checks its engines against these. `tlee.export.activations` records them.
"""

import os
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np

from tlee.bundle import Bundle
from tlee.errors import BundleError
from tlee.manifest import EXPORT_AGAIN
from tlee.reading import parsed

FOLDER = "activations"
# Values that each exit has, in the file `<value>.<exit>.npy`; those of the splits are named already.
OF_EXITS = ("feature", "projection", "previous", "position", "temperature", "z", "logits", "confidence", "score")
ABSOLUTE = ("confidence", "score")  # probabilities, compared with thresholds

Values = Dict[str, np.ndarray]


class Activations:
    """A bundle's recorded activations. Files are checked against their SHA-256 when they are first needed; raises
    BundleError where one is missing, altered, or no array of float32.

    Examples:
        >>> for inputs, outputs in Activations(bundle).of("exit0"):  # doctest: +SKIP
        ...     worst = max(difference(name, want, run(inputs)[name]) for name, want in outputs.items())
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._samples: int = bundle.manifest["activations"]["samples"]
        self._arrays: Values = {}

    def of(self, graph: str) -> Iterator[Tuple[Values, Values]]:
        """Yield inputs and expected outputs of a segment or fused exit by name, sample by sample; of one that all
        exits share, once per exit. The FRM's leave out a video's first frame, in which it is not used."""
        kind = "fused_exits" if graph in self._bundle.fused_exits else "segments"
        entry = self._bundle.manifest[kind][graph]
        for sample in range(self._samples):
            for b in exits_of(graph, self._bundle.exits):
                if graph == "frm" and not self._value(f"position.{b}")[sample].any():
                    continue
                inputs, outputs = (
                    {value["name"]: self._sample(sample, graph, value, b) for value in entry[side]}
                    for side in ("inputs", "outputs")
                )
                yield inputs, outputs

    def _sample(self, sample: int, graph: str, value: Dict[str, Any], exit: int) -> np.ndarray:
        name = value["name"]
        if graph == "frm" and name == "feature" and "neck" in self._bundle.segments:
            name = "projection"
        array = np.array(self._value(f"{name}.{exit}" if name in OF_EXITS else name)[sample])
        if array.shape != tuple(value["shape"]):
            problem = f"recorded {value['name']} of {graph} is {array.shape}, not {tuple(value['shape'])}"
            raise BundleError(self._bundle.path, problem, EXPORT_AGAIN)
        return array

    def _value(self, name: str) -> np.ndarray:
        """A value in all samples; mapped, not read: a board has little memory."""
        if name in self._arrays:
            return self._arrays[name]

        def mapped() -> np.ndarray:
            if np.lib.format.read_magic(stream) != (1, 0):  # later ones have headers without a bound
                raise ValueError("another version of NumPy's format")
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype != np.float32 or shape[:1] != (self._samples,) or by_columns:
                raise ValueError(f"{shape} of {dtype}, not float32 of {self._samples} samples")
            return np.memmap(stream, dtype, "r", stream.tell(), shape)

        file = f"{FOLDER}/{name}.npy"
        with self._bundle.open_file(file) as stream:
            path = os.path.join(self._bundle.path, file)
            self._arrays[name] = parsed(path, mapped, "recorded activations", EXPORT_AGAIN, BundleError)
        return self._arrays[name]


def exits_of(graph: str, exits: int) -> List[int]:
    """The exits that a segment or fused exit belongs to; for a split, its own index.

    Examples:
        >>> exits_of("branch1", 4), exits_of("exit3", 4), exits_of("tail", 4), exits_of("head", 4)
        ([1], [3], [3], [0, 1, 2, 3])
    """
    if graph == "tail":
        return [exits - 1]
    for kind in ("split", "branch", "exit"):
        if graph.startswith(kind):
            return [int(graph[len(kind) :])]
    return list(range(exits))


def difference(name: str, want: np.ndarray, got: np.ndarray) -> float:
    """The difference of a value from the recorded one: for confidence and score the largest absolute one, for all
    others the distance relative to the recorded value's length. Infinite where either is not finite.

    Examples:
        >>> difference("z", np.array([3.0, 4.0]), np.array([3.0, 4.5]))
        0.1
        >>> difference("score", np.array([0.25]), np.array([0.5]))
        0.25
    """
    want, got = np.ravel(want).astype(np.float64), np.ravel(got).astype(np.float64)
    if not (np.isfinite(want).all() and np.isfinite(got).all()):
        return float("inf")
    if name in ABSOLUTE:
        return float(np.abs(got - want).max())
    return float(np.linalg.norm(got - want)) / max(float(np.linalg.norm(want)), 1e-12)
