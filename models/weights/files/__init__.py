"""Single-file checkpoints: what they contain, and how each component is read."""
