"""A tiny text-to-image model, trained from scratch by the scripts of this folder (see README.md)."""
