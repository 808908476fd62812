"""Checkpoints of one file: what is in them, and how each component is read."""
