"""The engine on a GPU, with full-size models of random weights, as measured by `make gpu-check`."""
