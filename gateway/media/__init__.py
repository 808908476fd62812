"""Encode images and clips as files; `reading` decodes what callers uploaded."""
