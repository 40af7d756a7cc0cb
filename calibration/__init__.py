"""INT8 ranges and exit thresholds, from videos."""
