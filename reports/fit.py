"""How long networks take on a board: counts of what they compute over its peak rates, fitted to published times.

The time of a segment is a sum of four terms, each a count from the manifest over a peak rate of the board:

    arithmetic   2 * macs / peak rate of the precision
    maps         elements * bytes / memory bandwidth      (written once; reading them back is in the factor)
    weights      parameters * bytes / memory bandwidth
    launches     layers * 1 microsecond

The four factors in front are fitted to published times of whole networks (published.json), by least squares of the
relative error. No segment counts as less than its launches take on the one board whose published times show them: the
networks published of slower boards are too large for that, a segment need not be.

Sums of times at peak rates: after Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. That written activations
say more about time than arithmetic does: Radosavovic et al., "Designing Network Design Spaces", CVPR 2020.
"""

import functools
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from tlee.reading import read_json

PUBLISHED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.json")
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}
TERMS = ("arithmetic", "maps", "weights", "launches")
# The least that each factor can be. Winograd's F(2x2, 3x3) does a 3x3 convolution with 2.25 times fewer products (Lavin
# and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016); nothing moves more than the bandwidth.
LEAST = np.array([1 / 2.25, 1.0, 1.0, 0.0])
LAUNCHES_SHOW = "agx-xavier"  # networks of 1 ms and some fifty layers


class Board(NamedTuple):
    """A board's published peak rates."""

    title: str
    peak: dict[str, float]  # 1e9 operations a second by precision, a multiply-accumulate being two, nothing sparse
    bandwidth: float  # of its memory, 1e9 bytes a second
    fitted: str  # the board whose published times its factors are fitted to, itself where there are any


def _cuda(cores: int, ghz: float) -> dict[str, float]:
    """Two operations per core and clock, in FP16 two pairs of them; INT8 is not fast (Maxwell, Pascal of 6.2)."""
    return {"fp32": cores * 2 * ghz, "fp16": cores * 4 * ghz}


def _tensor(cores: int, tensor_cores: int, operations: int, ghz: float) -> dict[str, float]:
    """FP32 on CUDA cores; so many dense FP16 operations per tensor core and clock, twice that in INT8."""
    fast = tensor_cores * operations * ghz
    return {"fp32": cores * 2 * ghz, "fp16": fast, "int8": 2 * fast}


# Cores, clocks and bandwidths: the comparison of NVIDIA's modules in Ultralytics' "Quick Start Guide: NVIDIA Jetson"
# (docs.ultralytics.com/guides/nvidia-jetson), which takes them from developer.nvidia.com/embedded/jetson-modules; the
# TX2's: github.com/dcmartin/open-horizon, doc/JETSONS.md. A Volta tensor core does 64 FP16 multiply-accumulates per
# clock: 64 * 128 * 1.377 GHz = 11.3 TFLOPS, NVIDIA says 11. Orin's does 256: 64 * 1024 * 1.3 GHz = 85 TOPS in INT8,
# half of the 171 sparse TOPS in NVIDIA's github.com/NVIDIA/Deep-Learning-Accelerator-SW.
BOARDS = {
    "jetson-nano": Board("Jetson Nano", _cuda(128, 0.9216), 25.6, "jetson-nano"),
    "tx2": Board("Jetson TX2", _cuda(256, 1.3), 58.4, "tx2"),
    "xavier-nx": Board("Jetson Xavier NX", _tensor(384, 48, 128, 1.1), 59.7, "agx-xavier"),
    "agx-xavier": Board("Jetson AGX Xavier", _tensor(512, 64, 128, 1.377), 136.5, "agx-xavier"),
    "orin-nano": Board("Jetson Orin Nano 8GB", _tensor(1024, 32, 512, 0.625), 68.0, "agx-xavier"),
    "orin-nano-super": Board("Jetson Orin Nano Super", _tensor(1024, 32, 512, 1.02), 102.0, "agx-xavier"),
    "orin-nx": Board("Jetson Orin NX 16GB", _tensor(1024, 32, 512, 0.918), 102.4, "agx-xavier"),
    "agx-orin": Board("Jetson AGX Orin 64GB", _tensor(2048, 64, 512, 1.3), 204.8, "agx-xavier"),
}


class Figure(NamedTuple):
    """A published time of a network, one image at a time."""

    board: str
    network: str  # <name>-<side of its input>
    precision: str
    milliseconds: float
    source: str
    fitted: bool  # the maker's own; the others are compared only


class Comparison(NamedTuple):
    """A figure and what is estimated for it."""

    figure: Figure
    milliseconds: float

    @property
    def error(self) -> float:
        """Of the estimated time, relative to the published one."""
        return self.milliseconds / self.figure.milliseconds - 1


class Error(NamedTuple):
    """How far estimates are from published times."""

    median: float  # of the absolute relative errors
    worst: float
    bias: float  # median of the errors with their signs; below 0: estimates are too short
    figures: int
    board: str  # whose figures
    left_out: bool  # each estimate is of a fit without that network; else of figures that no fit has seen


@functools.cache
def _published() -> dict[str, Any]:
    return dict(read_json(PUBLISHED))


def figures(board: str) -> list[Figure]:
    """All published figures of a board."""
    found = []
    for entry in _published()["figures"]:
        if entry["board"] == board:
            time = entry["milliseconds"] if "milliseconds" in entry else 1000.0 / entry["fps"]
            found.append(Figure(board, entry["network"], entry["precision"], time, entry["source"], entry["fitted"]))
    return found


def sources(board: str) -> list[str]:
    """Title and address of what a board's factors are fitted to."""
    names = sorted({figure.source for figure in figures(board) if figure.fitted})
    return ["{title}, {url}".format(**_published()["sources"][name]) for name in names]


def peak_times(board: Board, counts: Mapping[str, Any], precision: str) -> np.ndarray:
    """Milliseconds of each of `TERMS` at the board's peak rates.

    Args:
        counts: `macs`, `elements`, `parameters` and `layers`, as in a manifest.
    """
    size = BYTES[precision]
    arithmetic = 2 * counts["macs"] / (board.peak[precision] * 1e6)
    maps, weights = (counts[key] * size / (board.bandwidth * 1e6) for key in ("elements", "parameters"))
    return np.array([arithmetic, maps, weights, 1e-3 * counts["layers"]])


def fit(board: str, without: str | None = None) -> np.ndarray:
    """The factors of `TERMS`, by least squares of the relative error, none below `LEAST`.

    Args:
        without: a network's name; its figures, at any size and precision, are left out.
    """
    used = [figure for figure in figures(board) if figure.fitted and _name(figure) != without]
    rows = np.array([_peak_times_of(figure) / figure.milliseconds for figure in used])
    return _least_squares(rows, np.ones(len(used)), LEAST)


def _least_squares(matrix: np.ndarray, wanted: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Minimises |matrix x - wanted| with x >= least."""
    return least + optimize.nnls(matrix, wanted - matrix @ least)[0]


def milliseconds(times: np.ndarray, board: str, without: str | None = None) -> float:
    """What takes `times` at peak rates, in all: of `peak_times`, with the factors fitted to `board`."""
    launches = times[-1] * fit(LAUNCHES_SHOW, without)[-1]
    return max(float(times.dot(fit(board, without))), float(launches))


def _name(figure: Figure) -> str:
    return figure.network.rsplit("-", 1)[0]


def _peak_times_of(figure: Figure) -> np.ndarray:
    return peak_times(BOARDS[figure.board], _published()["networks"][figure.network], figure.precision)


def leave_one_out(board: str) -> list[Comparison]:
    """Each fitted figure of a board with the estimate of a fit that has seen its network at no size or precision."""
    kept = [figure for figure in figures(board) if figure.fitted]
    return [Comparison(figure, milliseconds(_peak_times_of(figure), board, _name(figure))) for figure in kept]


def compared(board: str) -> list[Comparison]:
    """Each figure of a board that is not fitted with its estimate."""
    others = [figure for figure in figures(board) if not figure.fitted]
    return [Comparison(figure, milliseconds(_peak_times_of(figure), BOARDS[board].fitted)) for figure in others]


def error_on(comparisons: Iterable[Comparison], board: str, left_out: bool) -> Error | None:
    signed = [comparison.error for comparison in comparisons]
    if not signed:
        return None
    errors = np.abs(signed)
    return Error(float(np.median(errors)), float(errors.max()), float(np.median(signed)), len(signed), board, left_out)


def error_of(board: str, precision: str) -> Error:
    """Of estimates for a board, or for the one whose factors it borrows: on the fitted figures of this precision, each
    network left out of its fit; where there are none, on the figures by others; else on those of all precisions."""
    fitted = BOARDS[board].fitted
    left, others = leave_one_out(fitted), compared(fitted)
    candidates = [
        error_on([c for c in left if c.figure.precision == precision], fitted, True),
        error_on([c for c in others if c.figure.precision == precision], fitted, False),
        error_on(left, fitted, True),
    ]
    return [candidate for candidate in candidates if candidate is not None][0]
