"""Measurements: `tlee-bench`, which users run on their devices, and in development/ what tlee itself is held to."""
