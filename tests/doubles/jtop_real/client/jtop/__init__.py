"""The real client of jetson-stats, which asks the service behind the socket that TLEE_DOUBLE_SOCKET names."""

import importlib
import os
import sys

_here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
del sys.modules["jtop"]
_service = importlib.import_module("jtop.service")  # and so puts the real one into sys.modules, which is what counts
_service.JTOP_PIPE = os.environ["TLEE_DOUBLE_SOCKET"]
