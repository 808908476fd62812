"""The process that enlarges tiles of images by a super-resolution model."""
