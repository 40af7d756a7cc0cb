"""Thresholds that meet a target: recorded once, searched in simulation, verified on other videos."""
