"""Packing: the Bento, and its container image."""
