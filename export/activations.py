"""Records inputs and outputs of every segment and fused exit in a few real steps; see `tlee.activations`."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from tlee.activations import FOLDER, OF_EXITS, Activations, difference
from tlee.bundle import Bundle
from tlee.export.bundle_writer import BundleWriter
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_session import open_session, run_session

SAMPLES = 4
Values = dict[str, np.ndarray]


class _LastRuns(ForwardingBackend):
    """Keeps inputs and outputs of each segment's last run."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        super().__init__(backend)
        self._bundle = bundle
        self.last: dict[str, Values] = {}

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> list[Any]:
        outputs = self._backend.run(graph, *inputs, rows=rows)
        names = self._bundle.segments[graph]
        values = zip((*names.inputs, *names.outputs), (*inputs, *outputs))
        self.last[graph] = {name: self.array(value) for name, value in values}
        return outputs


def sampled_frames(length: int) -> list[int]:
    """The sampled frame of each clip: the first two, which differ in feature reuse, the middle one and the last."""
    return [min(t, length - 1) for t in (0, 1, length // 2, length - 1)]


def record(bundle: Bundle, clips: Iterable[np.ndarray], backend: Backend) -> Values:
    """Run `SAMPLES` clips, (T, H, W, 3) uint8, through the chain, each up to its sampled frame, no exit taken. Returns
    each value by the name of its file, float32, samples first."""
    tap = _LastRuns(bundle, backend)
    chain = Chain(bundle, tap)
    samples = [_sample(bundle, chain, tap, clip, t) for t, clip in zip(sampled_frames(bundle.frames.length), clips)]
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def add_activations(writer: BundleWriter, values: Values, source: str) -> dict[str, object]:
    """Put recorded values of clips from `source` into a bundle, in place of any earlier ones. Returns their entry in
    the manifest."""
    writer.remove(FOLDER)
    for name, array in values.items():
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=False)
        writer.add(f"{FOLDER}/{name}.npy", stream.getvalue())
    return {"samples": SAMPLES, "source": source}


def deviation(activations: Activations, name: str, model: bytes, threads: int | None = None) -> float:
    """The largest `tlee.activations.difference` between the outputs of a graph's variant and the recorded ones."""
    session, largest = open_session(model, threads), 0.0
    for inputs, outputs in activations.of(name):
        found = run_session(session, name, list(outputs), inputs)
        largest = max(largest, *(difference(key, outputs[key], got) for key, got in zip(outputs, found)))
    return largest


def _sample(bundle: Bundle, chain: Chain, tap: _LastRuns, clip: np.ndarray, last: int) -> Values:
    """All values of one frame."""
    chain.begin()
    previous = tap.value(np.zeros((1, bundle.manifest["model"]["feature_size"]), np.float32))
    for t in range(last + 1):
        x, found = chain.load(clip[t]), {}
        for b, temperature in enumerate(bundle.thresholds().temperature):
            x = chain.split(b, x)
            before = tap.array(previous)
            previous = chain.exit(b, x, previous, frame=t, gated=True, temperature=temperature).z
            own = f"branch{b}" if b < bundle.exits - 1 else "tail"
            # z is the head's input, whether or not there was an FRM.
            values = tap.last[own] | tap.last.get("neck", {}) | tap.last.get("gate", {}) | tap.last["head"]
            found.update(tap.last[f"split{b}"])
            found.update({f"{name}.{b}": value for name, value in values.items() if name in OF_EXITS})
            found.update({f"previous.{b}": before, f"position.{b}": np.full((1, 1), t, np.float32)})
    return found
