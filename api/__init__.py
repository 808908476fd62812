"""The catalogue: what can be served, how each model loads, and what each can do."""
