"""In front of an installed jetson-stats: for this process there is none."""

raise ModuleNotFoundError("No module named 'jtop'", name="jtop")
