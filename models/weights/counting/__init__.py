"""What the catalogue's models need, counted on their modules without weights: `python -m models.weights.counting`."""
