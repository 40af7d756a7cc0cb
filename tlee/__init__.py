"""Early-exit video recognition, from a trained checkpoint to an NVIDIA Jetson."""

__version__ = "0.1.0"
