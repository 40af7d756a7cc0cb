"""Strict doubles of NVIDIA's Python interfaces, for machines without a GPU. They know nothing of tlee."""
