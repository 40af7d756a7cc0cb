"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest
from conftest import EXAMPLES
from helpers.rooms import packages

PACKAGES = [f"tlee.{name}".rstrip(".") for name in packages()]
MODULES = [
    f"{package}.{module.name}"
    for package in PACKAGES
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__[:1])  # its own folder
    if not module.ispkg
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, sample_bundle):
    """A folder as the checkout after `make demo`: examples run here."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "build").mkdir()
    (folder / "build" / "digits.tlee").symlink_to(sample_bundle)
    (folder / "examples").symlink_to(EXAMPLES)
    return folder


def imported(name):
    """A module; None where it needs PyGObject, which comes with the system, and that is not there."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != "gi":
            raise
        return None


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    module = imported(name)
    if module is None:
        pytest.skip("no PyGObject")
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples():
    modules = [module for module in map(imported, MODULES) if module is not None]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    assert sum(bool(test.examples) for test in found) >= 7
