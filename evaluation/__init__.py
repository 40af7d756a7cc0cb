"""How well a model answers and what it costs: checkpoints and bundles on labelled videos, with exits and without."""
