"""Which device each replica of each model has: decided once, before anything is loaded."""
