"""One denoiser over several devices: a process for each, all of which take part in every call."""
