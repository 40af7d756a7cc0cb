"""INT8 forms of segments, and the plan of which to use: from what segments are given, measured on other videos."""
