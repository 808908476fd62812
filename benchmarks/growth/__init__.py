"""How cost grows with callers, waiting jobs, models, steps and sizes."""
