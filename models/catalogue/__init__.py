"""Which models can be served, as data: entries, families, checks. Nothing here imports torch."""
