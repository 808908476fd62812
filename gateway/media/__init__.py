"""Decode files to images; encode images and clips as files."""
