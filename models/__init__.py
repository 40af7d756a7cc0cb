"""TLEE in PyTorch: backbones and their cuts, branches, feature reuse, gates, checkpoints."""
