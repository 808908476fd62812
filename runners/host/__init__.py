"""One model's process around its engine: loading, unloading, warm-up, metrics."""
