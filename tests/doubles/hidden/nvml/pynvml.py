"""In front of an installed nvidia-ml-py: for this process there is none."""

raise ModuleNotFoundError("No module named 'pynvml'", name="pynvml")
