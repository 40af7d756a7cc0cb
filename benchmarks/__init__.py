"""Latency, power and energy on this machine: `tlee-bench`. development/ measures what tlee itself must hold."""
