"""In front of an installed pycuda: for this process there is none."""

raise ModuleNotFoundError("No module named 'pycuda'", name="pycuda")
