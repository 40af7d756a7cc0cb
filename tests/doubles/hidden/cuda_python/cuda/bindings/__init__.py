"""In front of an installed cuda-python: for this process there is none."""

raise ModuleNotFoundError("No module named 'cuda.bindings'", name="cuda.bindings")
