"""Denoising steps whose outcome can be foreseen are not computed: each image decides by what its own denoiser did."""
