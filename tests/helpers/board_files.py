"""Boards as trees of files, as the tests of the installer and of the doctor build them."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from conftest import ROOT


@cache
def _fixtures(folder: str) -> ModuleType:
    """The conftest.py of other tests."""
    spec = importlib.util.spec_from_file_location(f"fixtures_of_{folder}", ROOT / "tests" / folder / "conftest.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _function(fixture: Any) -> Any:
    return fixture._get_wrapped_function()


def installable(folder: Path, machine: str, python: Path) -> Path:
    """The root of a healthy board for install/jetson.sh, on which `python` is Python."""
    folder.mkdir()
    made = _function(_fixtures("install").board)(folder)
    return made({"nano": "nano", "orin": "orin6"}[machine], str(python)).root


def healthy(folder: Path, machine: str) -> Any:
    """A board for tlee-doctor; `machine()` gives what it reads."""
    folder.mkdir()
    return _function(getattr(_fixtures("doctor"), {"nano": "nano", "orin": "orin6"}[machine]))(folder)
