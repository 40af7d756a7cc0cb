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


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0


def test_there_are_examples():
    found = [test for name in MODULES for test in doctest.DocTestFinder().find(importlib.import_module(name))]
    assert sum(bool(test.examples) for test in found) >= 7
