"""Counts what the catalogue's models need, on modules without weights: `python -m models.weights.counting`."""
