"""The typed APIs, which BentoML's clients call."""
