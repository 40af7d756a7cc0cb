"""Early-exit video recognition, from a trained checkpoint to an NVIDIA Jetson."""

import os

__version__ = "0.1.0"

# Recent releases of ONNX Runtime report what they run to their maker unless told not to, and keep a database for it in
# the user's home. Nobody who installs this has agreed to that. Here, since other libraries import it, too.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# In a checkout the subpackages lie beside this folder, and Python started there finds this one before an installed one.
_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_root, "setup.py")) and os.path.isdir(os.path.join(_root, "runtime")):
    __path__.append(_root)
