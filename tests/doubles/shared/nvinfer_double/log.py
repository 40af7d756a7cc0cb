"""Loggers. Source: NVIDIA's Python API reference, Core, Logger; for the text on stdout TensorRT's pyCore.cpp."""

from __future__ import annotations

import time

from .strict import enumeration

Severity = enumeration("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


class Overridable(type):
    """Of classes that users derive from: as pybind11, insists on the base's `__init__`."""

    def __call__(cls, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        if not getattr(made, "_ready", False):
            base = next(c for c in cls.__mro__ if c.__module__ != cls.__module__)
            raise TypeError(f"tensorrt.tensorrt.{base.__name__}.__init__() must be called when overriding __init__")
        return made


class ILogger(metaclass=Overridable):
    """Users derive from it and override `log`."""

    __slots__ = ("_ready",)
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._ready = True

    def log(self, severity: Severity, msg: str) -> None:
        raise RuntimeError('Tried to call pure virtual function "ILogger::log"')


class Logger(ILogger):
    """Prints what is at least as severe as `min_severity`."""

    __slots__ = ("_least",)

    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        ILogger.__init__(self)
        self.min_severity = min_severity

    @property
    def min_severity(self) -> Severity:
        return self._least

    @min_severity.setter
    def min_severity(self, severity: Severity) -> None:
        if not isinstance(severity, Severity):
            raise TypeError("min_severity is a Logger.Severity")
        self._least = severity

    def log(self, severity: Severity, msg: str) -> None:
        if severity <= self._least:
            print(time.strftime("[%m/%d/%Y-%H:%M:%S]"), f"[TRT] [{'FEWIV'[int(severity)]}] {msg}", flush=True)


def error(logger: ILogger, message: str) -> None:
    logger.log(Severity.ERROR, message)


def warn(logger: ILogger, message: str) -> None:
    logger.log(Severity.WARNING, message)


def misuse(logger: ILogger, message: str) -> None:
    """How TensorRT reports calls that break its rules."""
    error(logger, f"3: Error Code 3: API Usage Error ({message})")
