"""Skips denoising steps whose outcome can be predicted, decided for each image by its own denoiser's outputs."""
