"""INT8 by calibrator. Sources: NVIDIA's Python API reference, Int8, and pyInt8.cpp for the order of calls and what a
calibrator may return; the header's form is that of caches which TensorRT writes."""

# ruff: noqa: F821  # annotations name the release's classes
from __future__ import annotations

import struct

from .log import ILogger, Overridable, error, warn
from .strict import RELEASE, member


class IInt8Calibrator(metaclass=Overridable):
    """Users derive from a subclass of it."""

    __slots__ = ("_ready",)

    def __init__(self) -> None:
        self._ready = True

    def get_batch_size(self) -> int:
        raise RuntimeError('Tried to call pure virtual function "IInt8Calibrator::get_batch_size"')

    def get_batch(self, names: list[str]) -> list[int] | None:
        raise RuntimeError("get_batch must be overridden")

    def read_calibration_cache(self) -> Buffer | None:
        raise RuntimeError("read_calibration_cache must be overridden")

    def write_calibration_cache(self, cache: Buffer) -> None:
        raise RuntimeError("write_calibration_cache must be overridden")


class IInt8EntropyCalibrator2(IInt8Calibrator):
    """The calibrator whose caches are `TRT-<number>-EntropyCalibration2`."""

    __slots__ = ()

    def get_algorithm(self):
        return member("CalibrationAlgoType", "ENTROPY_CALIBRATION_2")


def calibrate(calibrator: IInt8Calibrator, inputs: list[str], logger: ILogger) -> dict[str, float] | None:
    """Scales by tensor, from the calibrator's cache; None, with an error in the log, where there are none."""
    if not isinstance(calibrator.get_batch_size(), int):
        raise TypeError("get_batch_size returns an int")
    cache = calibrator.read_calibration_cache()
    if cache is not None:
        header, _, lines = bytes(cache).decode().partition("\n")
        wanted = f"TRT-{RELEASE.number}-EntropyCalibration2"
        if header == wanted:
            return dict(_scale(line) for line in lines.split("\n") if line)
        warn(logger, f"Calibration cache is {header}, not {wanted}: it is ignored, calibration starts anew")
    batch = calibrator.get_batch(inputs)
    if batch is not None and len(batch):
        raise AssertionError("this double does not calibrate with batches, it only reads caches")
    error(logger, "Calibration failure occurred with no scaling factors detected.")
    return None


def _scale(line: str) -> tuple[str, float]:
    name, _, digits = line.rpartition(": ")
    return name, struct.unpack(">f", bytes.fromhex(digits))[0]
