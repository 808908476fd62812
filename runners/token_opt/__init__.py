"""Inpainting without the denoiser, by optimising latents."""
