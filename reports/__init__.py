"""Reports, on the workstation: rows, plots, pages, statistics and estimates from measured files."""
