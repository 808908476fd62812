"""Denoising steps whose outcome can be predicted are not computed: each image decides by what its own denoiser did."""
