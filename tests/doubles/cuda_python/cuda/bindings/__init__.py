"""cuda-python's double: `cuda.bindings.driver` as far as an inference runner needs it."""

__version__ = "12.6.2"
