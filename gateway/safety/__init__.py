"""Checks of prompts and pictures, off unless the operator switches them on. Knows nothing of any contract."""
