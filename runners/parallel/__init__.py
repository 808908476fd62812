"""One denoiser over several devices: a process for each, which all take part in every one of its calls."""
