"""The step engine: many unmodified pipelines, shared forward passes. Knows no HTTP and no BentoML."""
