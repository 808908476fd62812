"""Benchmarks that compare everything in one run with the same weights, and end in one line of JSON."""
