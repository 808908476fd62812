"""Uploaded images: checked, decoded within a memory budget, reduced to the size that a request needs."""
