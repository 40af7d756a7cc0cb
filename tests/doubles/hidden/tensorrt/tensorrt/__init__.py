"""In front of an installed tensorrt: for this process there is none."""

raise ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt")
