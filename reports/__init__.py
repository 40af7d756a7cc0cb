"""Reports, on the workstation: rows, plots, pages, statistics and estimates from measured files."""

from tlee.reports.fonts import keep_fonts_out_of_home

keep_fonts_out_of_home()
