"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

FOLDERS = ("models", "models.backbones", "training", "export", "evaluation", "runtime", "benchmarks")
FOLDERS += ("benchmarks.development", "benchmarks.power", "calibration", "calibration.int8", "calibration.thresholds")
PACKAGES = ["tlee"] + [f"tlee.{name}" for name in FOLDERS]
MODULES = [
    f"{package}.{module.name}"
    for package in PACKAGES
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__[:1])  # its own folder
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples():
    found = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in found) >= 7
