"""PyGObject, for tests in a virtual environment, which does not see Debian's."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

DEBIAN = "/usr/lib/python3/dist-packages"


def reader() -> ModuleType:
    """tlee.data.gstreamer; the test is skipped where it cannot be imported."""
    sys.path.append(DEBIAN)  # behind all of ours, and only while PyGObject is found
    try:
        importlib.import_module("gi")
        return importlib.import_module("tlee.data.gstreamer")
    except ImportError as error:
        pytest.skip(f"GStreamer cannot be used from this Python: {error}")
    finally:
        sys.path.remove(DEBIAN)
