"""INT8 graphs of segments, and the plan which of them to use, measured on other videos."""
