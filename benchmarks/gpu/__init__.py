"""The engine on a GPU, with full-size models that have random weights: what `make gpu-check` measures."""
