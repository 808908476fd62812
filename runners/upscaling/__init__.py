"""The process that upscales tiles of images by a super-resolution model."""
