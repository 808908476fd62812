"""The GPU side: the step engine, and the BentoML runner services built on it."""
